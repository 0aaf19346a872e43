"""What a list of predicted and measured latencies is worth: errors, orders, and the noise of the measurement itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

NOISY = 0.05  # a model whose two own medians differ by more is scored apart
EQUAL = 0.05  # multiply–accumulates of a pair that count as equal, and the least difference of their times


@dataclass(frozen=True)
class Row:
    """One whole model. Times in microseconds; `halves` are the medians of its even and of its odd visits."""

    name: str
    family: str
    how: str
    threads: int
    macs: int
    measured: float
    halves: tuple[float, float]
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1

    @property
    def noise(self) -> float:
        first, second = self.halves
        return abs(first - second) / min(first, second)


def accuracy(rows: Sequence[Row]) -> dict[str, float]:
    """Shares and mean absolute errors, as fractions."""
    errors = [abs(row.error) for row in rows]
    if not errors:
        return {"models": 0}
    return {
        "models": len(rows), "mape": mean(errors), "median": median(errors), "worst": max(errors),
        "bias": median(row.error for row in rows), "within_5": mean(error <= 0.05 for error in errors),
        "within_10": mean(error <= 0.10 for error in errors),
        "in_interval": mean(row.low <= row.measured <= row.high for row in rows),
    }  # fmt: skip


def noise(rows: Sequence[Row]) -> dict[str, float]:
    """How far two medians of one model are apart, in the same sitting."""
    values = [row.noise for row in rows]
    return {"median": median(values), "over_5": mean(value > NOISY for value in values)}


def kendall(rows: Sequence[Row]) -> float:
    """τ-b between predicted and measured times of variants of one model."""
    from scipy.stats import kendalltau

    return float(kendalltau([row.predicted for row in rows], [row.measured for row in rows]).statistic)


def taus(rows: Iterable[Row]) -> dict[str, float]:
    """τ of each family with five variants at least."""
    ordered = sorted(rows, key=lambda row: row.family)
    groups = {family: list(each) for family, each in itertools.groupby(ordered, lambda row: row.family)}
    return {family: kendall(each) for family, each in groups.items() if len(each) >= 5}


def equal_pairs(rows: Sequence[Row]) -> dict[str, float]:
    """Pairs of equal MACs whose times differ: the share put in the right order by the model, and by the MACs."""
    right, by_macs = [], []
    for first, second in itertools.combinations(rows, 2):
        if abs(first.macs - second.macs) > EQUAL * max(first.macs, second.macs):
            continue
        if abs(first.measured - second.measured) <= EQUAL * max(first.measured, second.measured):
            continue
        slower = first.measured > second.measured
        right.append((first.predicted > second.predicted) == slower)
        by_macs.append((first.macs > second.macs) == slower)
    return {"pairs": len(right), "right": mean(right), "macs_right": mean(by_macs)} if right else {"pairs": 0}
