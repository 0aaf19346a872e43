"""The numbers of a call that its latency is predicted from, and how they are counted.

    terms      amounts of work with a nominal price each, in microseconds; the time is close to a sum of them
    features   what changes the price of that work by some percent: alignments, sizes up to where they matter

Terms never fall when a call grows. Features are bounded, so that a call larger than any that was profiled is priced
like the largest ones, per amount of work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["USUAL", "Context", "Core", "Numbers", "capped", "ceil_to", "moved", "past", "share_cold"]

_BYTES_PER_MICROSECOND = (40e3, 60e3, 60e3)  # what leaving each cache adds, nominal


@dataclass(frozen=True)
class Core:
    """A processor's core as kernels see it: `lanes` numbers of single precision in a vector, and bytes of each cache
    from the nearest on (usual ones, where a device does not tell)."""

    lanes: int = 8
    caches: tuple[float, float, float] = (32e3, 512e3, 32e6)

    @property
    def kept(self) -> float:
        """Bytes that the last cache keeps from one inference to the next: other cores use it, too."""
        return self.caches[2] / 4


USUAL = Core()


@dataclass
class Numbers:
    terms: dict[str, float] = field(default_factory=dict)
    features: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Where a call stands in its network.

    `blocked`: its map is in the blocked layout; `network_weight_bytes`: of all weights; `network_bytes`: of these and
    of all activations; `maker`: the operator that made its first input, views and dequantizes looked through; `shared`:
    others read that input, too; `channels_last`: that input lies so in memory; `rounded`: it is made of bytes, which a
    dequantize turns into numbers; `summed`: it is a sum that this call alone reads, of two values that change.
    """

    blocked: bool = False
    network_weight_bytes: int = 0
    network_bytes: int = 0
    maker: str = ""
    shared: bool = False
    channels_last: bool = False
    rounded: bool = False
    summed: bool = False
    core: Core = USUAL


def ceil_to(value: float, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple


def capped(value: float, most: float) -> float:
    """ln(value), of at least 1 and at most `most`."""
    return math.log(min(max(value, 1.0), most))


def moved(name: str, amount: float, core: Core) -> dict[str, float]:
    """Nominal microseconds of moving so many bytes: at the first cache's speed, and more for what leaves each cache."""
    found = {f"{name} bytes": amount / 80e3}
    for level, (size, speed) in enumerate(zip(core.caches, _BYTES_PER_MICROSECOND, strict=True), 1):
        found[f"{name} past L{level}"] = max(0.0, amount - size) / speed
    return found


def past(amount: float, cache: float) -> float:
    """How many times a cache's size so many bytes are, as a feature."""
    return capped(amount / cache, 20)


def share_cold(network_bytes: float, cache: float) -> float:
    """The share of a network's bytes that no longer is in a cache of so many at the next inference."""
    return max(0.0, 1.0 - cache / network_bytes) if network_bytes else 0.0
