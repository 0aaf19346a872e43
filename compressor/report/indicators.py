"""Indicators of cost that contradict each other: what one method does to parameters, MACs, bytes, latency, energy.

    falls: high < 0.99        rises: low > 1.01        stays: [low, high] within [0.95, 1.05]        of after / before

Dehghani, Arnab, Beyer, Vaswani, Tay: The Efficiency Misnomer (2021). A conflict is a pair of which one falls and the
other does not. An interval too wide to tell takes part in none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Conflict", "Indicator", "conflicts"]

Direction = Literal["falls", "stays", "rises", "?"]
MOVED, BAND = 0.01, 0.05  # relative


@dataclass(frozen=True)
class Indicator:
    """What a method does to one cost: after / before, with its interval (both ends the ratio for what is counted)."""

    method: str
    name: str
    low: float
    ratio: float
    high: float

    @classmethod
    def counted(cls, method: str, name: str, before: float, after: float) -> Indicator:
        """Of two numbers without error. Raises ValueError where before is 0."""
        if before == 0:
            raise ValueError(f"{name} of nothing has no ratio")
        return cls(method, name, after / before, after / before, after / before)

    @property
    def direction(self) -> Direction:
        if self.high < 1 - MOVED:
            return "falls"
        if self.low > 1 + MOVED:
            return "rises"
        return "stays" if self.low >= 1 - BAND and self.high <= 1 + BAND else "?"


@dataclass(frozen=True)
class Conflict:
    """One method lowers `fell`, and `other` does not follow."""

    method: str
    fell: Indicator
    other: Indicator

    def __str__(self) -> str:
        return (
            f"{self.method}: {self.fell.name} falls ({self.fell.ratio:.2f}×), "
            f"but {self.other.name} {self.other.direction} ({self.other.ratio:.2f}×)"
        )


def conflicts(rows: Iterable[Indicator]) -> tuple[Conflict, ...]:
    """Every pair of one method's indicators whose signs contradict each other, in the order of the rows."""
    known = list(rows)
    return tuple(
        Conflict(one.method, one, other)
        for one, other in itertools.permutations(known, 2)
        if one.method == other.method and one.direction == "falls" and other.direction in ("stays", "rises")
    )
