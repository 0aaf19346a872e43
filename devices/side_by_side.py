"""Two models timed in the same rounds: how many times as long the second takes, with a confidence interval.

    r_i = after_i / before_i        95%: [r_(j), r_(n + 1 − j)],   j = max(1, ⌊(n − 1.96 √n) / 2⌋)

after_i and before_i are medians of round i; r_(j) is the j-th smallest ratio. The interval is that of the median by
order statistics (Conover, Practical Nonparametric Statistics, 3.2): nothing is assumed of how noise is distributed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from compressor.devices.local import Measurement

__all__ = ["SideBySide", "side_by_side"]


@dataclass(frozen=True)
class SideBySide:
    """Median latencies in milliseconds, and the interval of the ratio after / before."""

    before: float
    after: float
    low: float
    ratio: float
    high: float


def side_by_side(before: Measurement, after: Measurement) -> SideBySide:
    """From two measurements of one `compare`. Raises ValueError when they have no rounds in common."""
    ratios = sorted(new / old for old, new in zip(before.rounds, after.rounds, strict=False))
    if not ratios:
        raise ValueError("no rounds in common")
    count = len(ratios)
    j = max(1, math.floor((count - 1.96 * math.sqrt(count)) / 2))
    return SideBySide(before.p50, after.p50, ratios[j - 1], median(ratios), ratios[count - j])
