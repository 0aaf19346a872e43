"""Which calls take no time of their own: fused into another node, folded, or a change of view.

    P(free) = (free + ½ prior) / (all + ½)      of the calls seen in one place; the prior is that of a coarser place

A place is the operator, the kernel that holds it, its number format and layout, what made its input, what reads its
output, and whether its inputs differ in shape. The finest place that was seen decides (Katz: backing off, 1987); what
several read is free where it is for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compressor.graph.calls import Call

__all__ = ["Fusion", "fit_fusion"]

_PULL = 0.5  # how much the coarser place counts, in calls
_READERS = 3
_SMOOTH = frozenset({"silu", "gelu", "mish", "softplus", "elu"})  # runtimes fuse clips into what is before, these not
_NOTHING = frozenset({
    "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "lift_fresh", "_assert_tensor_metadata",
    "_assert_scalar",
})  # fmt: skip
"""What inference leaves as it is: no exporter keeps it."""


@dataclass(frozen=True)
class Fusion:
    """How many calls were seen in each place, and how many of these took no time."""

    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def free(self, calls: Sequence[Call], blocked: Mapping[str, bool]) -> set[str]:
        """The names of those that cost nothing."""
        ops = {call.name: call.op for call in calls}
        return {call.name for call in calls if self._share(call, blocked, ops) >= 0.5}

    def to_json(self) -> dict[str, Any]:
        return {place: list(counts) for place, counts in self.counts.items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Fusion:
        return Fusion({place: (int(counts[0]), int(counts[1])) for place, counts in data.items()})

    def _share(self, call: Call, blocked: Mapping[str, bool], ops: Mapping[str, str]) -> float:
        if call.op in _NOTHING:
            return 1.0
        share = 0.0 if call.kernel else 1.0
        for level in reversed(_places(call, blocked.get(call.name, False), ops)):
            found = [self.counts[place] for place in level if place in self.counts]
            share = min(((free + _PULL * share) / (seen + _PULL) for free, seen in found), default=share)
        return share


def fit_fusion(networks: Iterable[tuple[Sequence[Call], Mapping[str, bool], set[str]]]) -> Fusion:
    """From networks: their calls, which are blocked, and the names of those that took time."""
    counts: dict[str, tuple[int, int]] = {}
    for calls, blocked, timed in networks:
        ops = {call.name: call.op for call in calls}
        for call in calls:
            for level in _places(call, blocked.get(call.name, False), ops):
                for place in level:
                    free, seen = counts.get(place, (0, 0))
                    counts[place] = (free + (call.name not in timed), seen + 1)
    return Fusion(counts)


def _places(call: Call, blocked: bool, ops: Mapping[str, str]) -> list[list[str]]:
    """Levels, the finest first."""
    spread = "spread" if len({each.shape for each in call.inputs}) > 1 else ""
    own = f"{call.op}|{call.anchor}|{'main' if call.main else ''}|{spread}"
    maker = next((ops.get(each.source, "input") for each in call.inputs), "")
    readers = ",".join(call.readers[:_READERS])
    layout, smooth = "blocked" if blocked else "", "smooth" if call.op in _SMOOTH else ""
    return [
        [f"{own}|{call.format}|{layout}|{readers}|{maker}|{len(call.shape)}"],
        [f"{own}|{call.format}|{layout}|{readers}"],
        [f"{own}|{call.format}|{layout}|<{reader}" for reader in call.readers],
        [f"{own}|{call.format}|{layout}"],
        [f"{own}"],
        [f"{call.kind}|{smooth}|{call.anchor}|{'main' if call.main else ''}|{layout}"],  # of an operator never seen
    ]
