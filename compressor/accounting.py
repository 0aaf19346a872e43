"""What the report says of energy: of an inference before and after, and when making the artifact has paid for itself.

    E = P · latency / samples        P: the target's declared power; the measured latency where there is one
    n* = E_make / (E_before − E_after)

`compress bench` measures energy where the board has a sensor; here it is always estimated. Where the target declares no
power there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.devices.energy import (
    BreakEven,
    Carbon,
    InferenceEnergy,
    Making,
    Span,
    break_even,
    estimated_energy,
    saving_by_ratio,
)
from compressor.devices.local import Measurement
from compressor.devices.side_by_side import interval, side_by_side
from compressor.report.compare import SAME
from compressor.report.model import Latency
from compressor.targets import Figure, Target
from compressor.targets.machine import this_machine
from compressor.targets.power import host_power

__all__ = ["Account", "pays_off", "power_of"]


def power_of(target: Target, threads: int | None) -> Figure | None:
    """Watts declared for the target; of this machine, for as many threads as are used."""
    if target.is_host and threads is not None:
        return host_power(this_machine(), threads)
    return target.power


@dataclass(frozen=True)
class Account:
    """`power` of the board in watts, samples (`rows`) in one timed batch, and what a kWh emits."""

    power: Figure | None
    rows: int
    carbon: Carbon

    def energy(self, latency: Latency, measured: Measurement | None = None) -> InferenceEnergy | None:
        """Of one sample, with the interval of what was measured; None where power or latency are not known."""
        if self.power is None:
            return None
        if measured is not None and measured.rounds:
            span = Span(*interval(measured.rounds))
        elif latency.predicted is not None:
            span = Span.exactly(latency.predicted)
        else:
            return None
        return estimated_energy(span, self.power.value, self.power.source, self.carbon, rows=self.rows)


def pays_off(
    making: Making, before: InferenceEnergy | None, after: InferenceEnergy | None,
    measured: tuple[Measurement, Measurement] | None = None,
) -> BreakEven | None:  # fmt: skip
    """When the artifact with its making has cost less than the original, which costs nothing to make; None where an
    energy is not known. Latencies that were measured in turn are compared round by round; predictions that the report
    calls the same save nothing."""
    if before is None or after is None:
        return None
    saved = before.joules.value - after.joules.value
    saving = Span.exactly(saved if abs(saved) > SAME * before.joules.value else 0.0)
    if measured is not None:
        both = side_by_side(*measured)
        saving = saving_by_ratio(before.joules.value, Span(both.low, both.ratio, both.high))
    return break_even(Span.exactly(making.joules), saving)
