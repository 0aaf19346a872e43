"""What `compress bench` may have found, with made-up figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.devices.bench import Bench
from compressor.devices.device import Description
from compressor.devices.energy import WORLD, InferenceEnergy, Making, Span, break_even, inference_energy
from compressor.devices.figures import Energy, Figures, versus
from compressor.devices.full_cycle import FullCycle

__all__ = ["cycles", "found", "measured"]


def measured(name: str = "digits", p50: float = 2.0, **changes: Any) -> Figures:
    """A bundle whose runs take p50 ms, give or take a tenth."""
    times = [float(time) for time in p50 * np.linspace(0.9, 1.1, 501)]
    p50, p90, p99 = (float(np.percentile(times, rank)) for rank in (50, 90, 99))
    fields: dict[str, Any] = {
        "name": name, "load_ms": 30.0, "first_ms": 9.0, "p50": p50, "p90": p90, "p99": p99, "min": min(times),
        "runs": 501, "throughput": 500.0, "providers": ("CPUExecutionProvider",), "errors": {"output": 1e-6},
        "errors_as_timed": {"output": 2e-6}, "tolerance": 1e-4, "peak_memory_bytes": 60_000_000,
        "runtime_bytes": 45_000_000, "energy": Energy("INA3221 VDD_IN", 8.0, 3.5, 4.0, 2.25, 100),
        "rounds": dict.fromkeys(range(30), p50), "times": tuple((time, 1.0) for time in times),
    }  # fmt: skip
    return Figures(**{**fields, **changes})


def found(*figures: Figures, **changes: Any) -> Bench:
    """Of a Raspberry Pi that grew warm."""
    fields: dict[str, Any] = {
        "url": "ssh://pi@board", "versions": {"onnxruntime": "1.23.0", "numpy": "2.0.0", "python": "3.11.2"},
        "description": Description("Linux", "aarch64", "Cortex-A76", 4, 8 << 30, "3.11.2"), "threads": 4, "batch": 1,
        "errors": {each.name: each.errors for each in figures}, "figures": figures,
        "comparisons": tuple(versus(figures[0], each) for each in figures[1:]),
        "states": (
            {"temperatures": {"cpu-thermal": 48.2}},
            {
                "temperatures": {"cpu-thermal": 63.9}, "clocks": {"cpu0": {"governor": "ondemand"}},
                "power_mode": "MAXN",
            },
        ),
        "clocks": (2400.0, 2300.0), "cycles": cycles(*figures),
    }  # fmt: skip
    return Bench(**{**fields, **changes})


def cycles(*figures: Figures) -> tuple[FullCycle, ...]:
    """Made with 100 J, 200 J, …; energies are the sensor's."""
    made: list[FullCycle] = []
    for index, each in enumerate(figures, 1):
        making = Making(30.0, 50.0, 100.0 * index, False, "estimated: by hand")
        energy = _energy(each)
        found = FullCycle(each.name, energy, making)
        if made and energy is not None and (first := made[0].energy) is not None:
            extra = Span.exactly(100.0 * (index - 1))
            found = FullCycle(each.name, energy, making, break_even(extra, first.joules - energy.joules))
        made.append(found)
    return tuple(made)


def _energy(figures: Figures) -> InferenceEnergy | None:
    if (sensed := figures.energy) is None:
        return None
    above = None if sensed.above_idle_mj is None else sensed.above_idle_mj / 1e3
    source, joules = f"measured: {sensed.sensor}", Span.exactly(sensed.mj / 1e3)
    return inference_energy(joules, measured=True, source=source, carbon=WORLD, above_idle_joules=above)
