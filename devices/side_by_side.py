"""Two models timed in the same rounds: how many times as long the second takes, with a confidence interval.

    r_i = after_i / before_i        95%: [r_(j), r_(n + 1 − j)],   j = max(1, ⌊(n − 1.96 √n) / 2⌋)

after_i and before_i are medians of round i; r_(j) is the j-th smallest ratio. The interval is that of the median by
order statistics (Conover, Practical Nonparametric Statistics, 3.2): nothing is assumed of how noise is distributed.
The span of n rounds holds the median with probability 1 − 2^(1 − n): of fewer than six, with less than 95%.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal

from compressor.devices.local import Measurement

__all__ = ["LEAST_ROUNDS", "SideBySide", "interval", "side_by_side"]

LEAST_ROUNDS = 6


@dataclass(frozen=True)
class SideBySide:
    """Median latencies in milliseconds, and the interval of the ratio after / before; `how` they are known."""

    before: float
    after: float
    low: float
    ratio: float
    high: float
    how: Literal["measured", "predicted"] = "measured"


def side_by_side(before: Measurement, after: Measurement) -> SideBySide:
    """From two measurements of one `compare`. Raises ValueError when they have no rounds in common."""
    ratios = [new / old for old, new in zip(before.rounds, after.rounds, strict=False)]
    return SideBySide(before.p50, after.p50, *interval(ratios))


def interval(ratios: Iterable[float]) -> tuple[float, float, float]:
    """Low end, median and high end of the rounds' ratios. Raises ValueError when there are none."""
    ordered = sorted(ratios)
    if not ordered:
        raise ValueError("no rounds in common")
    count = len(ordered)
    j = max(1, math.floor((count - 1.96 * math.sqrt(count)) / 2))
    return ordered[j - 1], median(ordered), ordered[count - j]
