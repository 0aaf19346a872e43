"""The numbers of a call that its latency is predicted from, and how they are counted.

    terms      amounts of work with a nominal price each, in microseconds; the time is close to a sum of them
    features   what changes the price of that work by some percent: alignments, sizes up to where they matter

Terms never fall when a call grows. Features are bounded, so that a call larger than any that was profiled is priced
like the largest ones, per amount of work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Context", "Numbers", "capped", "ceil_to", "moved", "share_cold"]

_CACHES = {"L1": 32e3, "L2": 512e3, "L3": 8e6}  # bytes; devices differ by small factors, which the fit absorbs
_BYTES_PER_MICROSECOND = {"L1": 40e3, "L2": 60e3, "L3": 60e3}  # what leaving each cache adds, nominal


@dataclass
class Numbers:
    terms: dict[str, float] = field(default_factory=dict)
    features: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Where a call stands in its network.

    `blocked`: its map is in the blocked layout; `network_weight_bytes`: of all weights; `network_bytes`: of these and
    of all activations; `maker`: the operator that made its first input, views and dequantizes looked through; `shared`:
    others read that input, too; `channels_last`: that input lies so in memory; `lanes`: how many numbers of single
    precision a vector of the runtime's kernels holds.
    """

    blocked: bool = False
    network_weight_bytes: int = 0
    network_bytes: int = 0
    maker: str = ""
    shared: bool = False
    channels_last: bool = False
    lanes: int = 8


def ceil_to(value: float, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple


def capped(value: float, most: float) -> float:
    """ln(value), of at least 1 and at most `most`."""
    return math.log(min(max(value, 1.0), most))


def moved(name: str, amount: float) -> dict[str, float]:
    """Nominal microseconds of moving so many bytes: at the first cache's speed, and more for what leaves each cache."""
    found = {f"{name} bytes": amount / 80e3}
    for cache, size in _CACHES.items():
        found[f"{name} past {cache}"] = max(0.0, amount - size) / _BYTES_PER_MICROSECOND[cache]
    return found


def share_cold(network_weight_bytes: float, cache: float = 8e6) -> float:
    """The share of a network's weights that no longer is in a cache of so many bytes at the next inference."""
    return max(0.0, 1.0 - cache / network_weight_bytes) if network_weight_bytes else 0.0
