"""What bundles on one board cost over their lives: energy of an inference, of making each, and when each pays.

Energy is the sensor's where there is one. Elsewhere it is estimated from a declared power: `host`'s where the device is
this machine, else the one that the bundles' manifests carry of the target they were made for, provided that it has the
board's architecture; `host` was another machine than a board. Where none is declared nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.devices.batches import rows
from compressor.devices.device import Description
from compressor.devices.energy import (
    BreakEven,
    Carbon,
    InferenceEnergy,
    Making,
    Span,
    break_even,
    estimated_energy,
    inference_energy,
    saving_by_ratio,
)
from compressor.devices.figures import Comparison, Figures
from compressor.devices.side_by_side import interval
from compressor.errors import LoadError, TargetError
from compressor.export.verify import Contents
from compressor.targets import HOST, Figure, load_target

__all__ = ["FullCycle", "declared_power", "full_cycles", "making_of"]

_LARGEST = 1e30


@dataclass(frozen=True)
class FullCycle:
    """One bundle. `break_even` is against the first, None for the first and where an energy is not known."""

    name: str
    energy: InferenceEnergy | None = None
    making: Making | None = None
    break_even: BreakEven | None = None


def full_cycles(
    figures: Sequence[Figures], comparisons: Sequence[Comparison], bundles: Sequence[Contents], batch: int,
    power: Figure | None, carbon: Carbon,
) -> tuple[FullCycle, ...]:  # fmt: skip
    """One for each bundle, in order. Raises LoadError for a manifest whose making is none."""
    ratios = {each.name: Span(each.low, each.ratio, each.high) for each in comparisons}
    found: list[FullCycle] = []
    for measured, bundle in zip(figures, bundles, strict=True):
        energy = _energy(measured, rows(bundle, batch), power, carbon)
        each = FullCycle(measured.name, energy, making_of(bundle))
        if found:
            each = FullCycle(each.name, energy, each.making, _against(found[0], each, ratios[each.name]))
        found.append(each)
    return tuple(found)


def declared_power(
    url: str, description: Description, bundles: Sequence[Contents], threads: int
) -> Figure | None:  # fmt: skip
    """Watts declared for the board, or None where nothing is or bundles disagree. Raises LoadError for no power."""
    if url == "local":
        try:
            return load_target(HOST, host_threads=threads).power
        except TargetError:
            return None
    declared = [
        None if bundle.manifest.get("target") == HOST else _declared(bundle, description.arch) for bundle in bundles
    ]
    return declared[0] if len(set(declared)) == 1 else None


def making_of(bundle: Contents) -> Making | None:
    """What making a bundle took, as its manifest says; None where it does not. Raises LoadError."""
    value = bundle.manifest.get("making")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _bad(bundle, "`making` is not an object")
    source, measured = value.get("source"), value.get("measured")
    if not isinstance(source, str) or not isinstance(measured, bool):
        raise _bad(bundle, "`making` does not say how it is known")
    numbers = {
        name: _number(bundle, f"making.{name}", value.get(name, 0.0 if name == "earlier_cpu_seconds" else None))
        for name in ("seconds", "cpu_seconds", "joules", "earlier_cpu_seconds")
    }
    return Making(measured=measured, source=source, **numbers)


def _energy(figures: Figures, samples: int, power: Figure | None, carbon: Carbon) -> InferenceEnergy | None:
    sensed = figures.energy
    if sensed is not None:
        above = None if sensed.above_idle_mj is None else sensed.above_idle_mj / 1e3 / samples
        joules = Span.exactly(sensed.mj / 1e3 / samples)
        source = f"measured: {sensed.sensor}"
        return inference_energy(joules, measured=True, source=source, carbon=carbon, above_idle_joules=above)
    if power is None:
        return None
    latency = Span(*interval(figures.rounds.values()))
    return estimated_energy(latency, power.value, power.source, carbon, rows=samples)


def _against(first: FullCycle, other: FullCycle, ratio: Span) -> BreakEven | None:
    """Estimates of one board differ as the latencies do, whose ratio was measured round by round."""
    old, new = first.energy, other.energy
    if old is None or new is None or old.measured != new.measured or first.making is None or other.making is None:
        return None
    saving = old.joules - new.joules if old.measured else saving_by_ratio(old.joules.value, ratio)
    return break_even(Span.exactly(other.making.joules - first.making.joules), saving)


def _declared(bundle: Contents, arch: str) -> Figure | None:
    value = bundle.manifest.get("power")
    if value is None:
        return None
    if not isinstance(value, Mapping) or not isinstance(value.get("source"), str):
        raise _bad(bundle, "`power` has no source")
    watts = _number(bundle, "power.value", value.get("value"))
    return Figure(watts, value["source"]) if value.get("arch") == arch else None


def _number(bundle: Contents, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
        raise _bad(bundle, f"`{name}` is not a number from 0 on")
    return float(value)


def _bad(bundle: Contents, reason: str) -> LoadError:
    return LoadError(f"the manifest is not one: {reason}", where=str(bundle.path), way_out="Build the bundle again.")
