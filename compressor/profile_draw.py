"""Which networks a profile is made of: every style and format first, then those where the model errs most.

    draw (style, how) with probability  ∝  share(how | style) · clip(err(style, how) / mean err, 1/3, 3)

err is the mean of |ln(predicted / measured)| over the networks measured so far, each predicted from the others.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compressor.devices.latency.networks import STYLES
from compressor.profile_networks import How

__all__ = ["Drawn", "draws", "first_round", "shares"]

_WORDS = ("encoder", "decoder", "modern-decoder", "vision", "windowed", "mixed", "modern")  # wide linear layers
_FLOAT = ("upward", "recurrent")  # what int8 leaves as it is
_OFTEN = {
    "upward": 0.4,
    "recurrent": 0.4,
    "mixed": 0.6,
    "plain": 1.5,
    "separable": 1.5,
    "inverted": 1.5,
    "residual": 1.5,
}
_APART = 100_000  # between the seeds of those to choose from: more than a profile draws
_BOUNDS = (1 / 3, 3.0)


@dataclass(frozen=True)
class Drawn:
    style: str
    seed: int
    how: How

    def others(self, count: int) -> list[Drawn]:
        """It and more of the same style and format, to choose from."""
        return [replace(self, seed=self.seed + _APART * index) for index in range(count)]

    @property
    def name(self) -> str:
        return f"{self.style}-{self.seed}-{self.how}"


def shares() -> dict[tuple[str, How], float]:
    """How often each style is drawn in each format, before anything was measured."""
    found: dict[tuple[str, How], float] = {}
    for style in STYLES:
        if style in _FLOAT:
            parts: dict[How, float] = {"plain": 1.0}
        elif style in _WORDS:
            parts = {"plain": 0.55, "int8": 0.2, "int4": 0.13, "int2": 0.12}
        else:
            parts = {"plain": 0.45, "int8": 0.35, "pruned": 0.2}
        found.update({(style, how): share * _OFTEN.get(style, 1.0) for how, share in parts.items()})
    return found


def first_round(seed: int) -> list[Drawn]:
    """Each style as it is and in int8 (decoders of one kind: a hundred kernels each), and blocks of 4 and 2 bits twice
    each, in an order of chance: what is left out where there is room for few is no style in particular."""
    chosen = [pair for pair in shares() if pair[1] in ("plain", "int8") and pair != ("decoder", "int8")]
    chosen += [("encoder", "int4"), ("decoder", "int2"), ("vision", "int2"), ("modern-decoder", "int4")]
    random.Random(seed).shuffle(chosen)
    return [Drawn(style, seed + index, how) for index, (style, how) in enumerate(chosen)]


def draws(errors: Mapping[tuple[str, str], float], count: int, seed: int) -> list[Drawn]:
    """`count` more, by the errors of those measured so far."""
    mean = sum(errors.values()) / len(errors) if errors else 1.0
    low, high = _BOUNDS
    weights = {
        pair: share * min(max(errors.get(pair, mean) / mean if mean else 1.0, low), high)
        for pair, share in shares().items()
    }  # fmt: skip
    drawn = random.Random(seed).choices(list(weights), list(weights.values()), k=count)
    return [Drawn(style, seed + index, how) for index, (style, how) in enumerate(drawn)]
