"""Energy over an artifact's life: an inference, a thousand of them, making it, and from when on a change pays.

    E = P · t / rows                estimated: declared power × latency, of a run with so many samples
    E = joules / (runs · rows)      measured by a sensor
    kWh of 1,000 = 1000 · E / 3.6e6                                 g CO2e = kWh · carbon intensity
    E(n) = E_make + n · E
    n* = (E_make,new − E_make,old) / (E_old − E_new)                where both lives have cost the same

The unit of 1,000 inferences: Luccioni, Jernite, Strubell, Power Hungry Processing (2024, arXiv:2311.16863). Energy over
the life, whose ranking depends on n: Li et al., Full-Cycle Energy Consumption Benchmark (2021).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "WORLD", "BreakEven", "Carbon", "InferenceEnergy", "Making", "Span", "break_even", "estimated_energy",
    "full_cycle", "inference_energy", "saving_by_ratio",
]  # fmt: skip

JOULES_A_KWH = 3.6e6
When = Literal["from", "until", "always", "never", "equal"]


@dataclass(frozen=True)
class Span:
    """A value with its interval; both ends are the value where no interval is known."""

    low: float
    value: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Span:
        return cls(value, value, value)

    def __mul__(self, factor: float) -> Span:
        """Times a factor that is not negative."""
        return Span(self.low * factor, self.value * factor, self.high * factor)

    def __sub__(self, other: Span) -> Span:
        """The widest that both intervals allow."""
        return Span(self.low - other.high, self.value - other.value, self.high - other.low)


@dataclass(frozen=True)
class Carbon:
    """Grams of CO2 equivalent a kWh of electricity, and where that is from."""

    g_per_kwh: float
    source: str

    def __post_init__(self) -> None:
        """Raises ValueError for an intensity that cannot be."""
        if not (math.isfinite(self.g_per_kwh) and self.g_per_kwh >= 0):
            raise ValueError(f"no carbon intensity: {self.g_per_kwh}")


WORLD = Carbon(
    475.0,
    "assumed: the world's average of 2018 (IEA, Global Energy & CO2 Status Report 2019); yours may differ tenfold",
)


@dataclass(frozen=True)
class InferenceEnergy:
    """One inference: one sample, not one batch. `above_idle_joules` is without what the idle board draws.

    `measured` by a sensor, or else estimated; `source` says how.
    """

    joules: Span
    measured: bool
    source: str
    kwh_per_1000: float
    co2e_g_per_1000: float
    above_idle_joules: float | None = None

    @property
    def label(self) -> str:
        return "measured" if self.measured else "estimated"


@dataclass(frozen=True)
class Making:
    """What making an artifact took: wall and CPU seconds of all attempts, their joules, and how these are known.

    `earlier_cpu_seconds` are those of them that earlier attempts spent on what this one took over.
    """

    seconds: float
    cpu_seconds: float
    joules: float
    measured: bool
    source: str
    earlier_cpu_seconds: float = 0.0

    @property
    def label(self) -> str:
        return "measured" if self.measured else "estimated"


@dataclass(frozen=True)
class BreakEven:
    """When the new artifact has cost less energy over its life than the old one.

    `from` or `until` the `count`-th inference (`low` to `high`; None: without bound); `always`: from the first;
    `never`; `equal`: at any number. `sure` is false where the intervals of the inputs allow another answer.
    """

    when: When
    count: float | None = None
    low: float | None = None
    high: float | None = None
    sure: bool = True


def inference_energy(
    joules: Span, *, measured: bool, source: str, carbon: Carbon, above_idle_joules: float | None = None
) -> InferenceEnergy:
    """What is known of one inference, with the figures of a thousand."""
    kwh = 1000 * joules.value / JOULES_A_KWH
    return InferenceEnergy(joules, measured, source, kwh, kwh * carbon.g_per_kwh, above_idle_joules)


def estimated_energy(
    latency_ms: Span, watts: float, source: str, carbon: Carbon, *, rows: int = 1
) -> InferenceEnergy:  # fmt: skip
    """From the latency of a run of `rows` samples and the power that is declared for the board, with its source."""
    text = f"estimated: latency × {watts:g} W ({source})"
    return inference_energy(latency_ms * (watts / 1e3 / rows), measured=False, source=text, carbon=carbon)


def full_cycle(making_joules: float, joules: float, count: float) -> float:
    """Joules of making an artifact and using it so many times."""
    return making_joules + count * joules


def saving_by_ratio(old_joules: float, ratio: Span) -> Span:
    """Joules that each inference saves, from how many times the old one's energy the new one takes."""
    return Span(old_joules * (1 - ratio.high), old_joules * (1 - ratio.value), old_joules * (1 - ratio.low))


def break_even(extra: Span, saving: Span) -> BreakEven:
    """`extra`: joules that making the new one took beyond the old one's; `saving`: joules each inference saves.

    Raises ValueError for what is not finite.
    """
    if not all(map(math.isfinite, (extra.low, extra.value, extra.high, saving.low, saving.value, saving.high))):
        raise ValueError("energies have to be finite")
    when = _when(extra.value, saving.value)
    corners = itertools.product((extra.low, extra.high), (saving.low, saving.high))
    sure = all(_when(*corner) == when for corner in corners)
    if when not in ("from", "until"):
        return BreakEven(when, sure=sure)
    cost, gain = (extra, saving) if when == "from" else (_negated(extra), _negated(saving))
    high = cost.high / gain.low if gain.low > 0 else None
    return BreakEven(when, cost.value / gain.value, max(cost.low, 0.0) / gain.high, high, sure)


def _when(extra: float, saving: float) -> When:
    if extra > 0 and saving > 0:
        return "from"
    if extra < 0 and saving < 0:
        return "until"
    if extra == saving == 0:
        return "equal"
    return "always" if extra <= 0 <= saving else "never"


def _negated(span: Span) -> Span:
    return Span(-span.high, -span.value, -span.low)
