"""A predicted latency held to what was measured: whether that is within the interval that the model states.

within  ⇔  low ≤ measured ≤ high        nine of ten networks are (devices/latency/interval.py)
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.gate import show
from compressor.graph.cost import Estimate

__all__ = ["Held"]


@dataclass(frozen=True)
class Held:
    """Milliseconds; `interval` is None of a model that states none. `where` it was measured, in words."""

    predicted: float
    interval: tuple[float, float] | None
    measured: float
    where: str

    @classmethod
    def of(cls, estimate: Estimate, measured_ms: float, where: str) -> Held:
        return cls(estimate.latency_ms, estimate.interval_ms, measured_ms, where)

    @property
    def within(self) -> bool | None:
        """None where no interval is stated."""
        return None if self.interval is None else self.interval[0] <= self.measured <= self.interval[1]

    @property
    def ratio(self) -> float:
        """How many times the predicted time was measured."""
        return self.measured / self.predicted

    def __str__(self) -> str:
        measured = f"measured {show('latency', self.measured)} on {self.where}"
        predicted = f"{show('latency', self.predicted)} predicted"
        if self.interval is None:
            return f"{measured}, {predicted}, {self.ratio:.2f} times that: the model states no interval"
        low, high = (show("latency", end) for end in self.interval)
        verdict = "within" if self.within else "beyond"
        return f"{measured}, {predicted}: {verdict} the interval of nine of ten networks ({low} to {high})"
