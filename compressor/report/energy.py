"""Energy in words: a thousand inferences in kWh and grams, what making took, and when that has paid.

5.2e-05 → 1.3e-05 kWh                      Luccioni, Jernite, Strubell, Power Hungry Processing (2024)
from 12,300 inferences on                  Li et al., Full-Cycle Energy Consumption Benchmark (2021)
"""

from __future__ import annotations

from collections.abc import Iterator

from compressor.devices.energy import BreakEven, Carbon, Making
from compressor.report.compare import display
from compressor.report.model import Report

__all__ = ["break_even_text", "carbon_text", "energy_lines", "making_text", "times"]


def energy_lines(report: Report) -> Iterator[str]:
    """Sentences about the report's energy, none where nothing is known of it."""
    before, after = report.before.energy, report.after.energy
    if before is not None and after is not None:
        kwh = f"{before.kwh_per_1000:.3g} → {after.kwh_per_1000:.3g} kWh"
        yield f"1,000 {_unit(report)}s: {kwh}, {before.co2e_g_per_1000:.3g} → {after.co2e_g_per_1000:.3g} g CO2e"
        if report.carbon is not None:
            yield carbon_text(report.carbon)
        yield f"energy is {after.source}"
    if report.making is not None:
        yield f"making it: {making_text(report.making)}"
    if report.break_even is not None:
        when = break_even_text(report.break_even, unit=_unit(report))
        yield f"with its making, less energy than the original: {when}"


def _unit(report: Report) -> str:
    """What energy is of: a decoder with a cache computes a token at a time."""
    return "inference" if report.decoding is None else "token"


def making_text(making: Making) -> str:
    """Joules with how they are known, and the seconds."""
    earlier = f", of which {making.earlier_cpu_seconds:.3g} in earlier runs" if making.earlier_cpu_seconds else ""
    seconds = f"{making.cpu_seconds:.3g} CPU seconds{earlier}"
    return f"{display(making.joules, 'joules')}, {seconds}, {making.seconds:.3g} s; {making.source}"


def break_even_text(found: BreakEven, interval: str = "95%", *, unit: str = "inference") -> str:
    """From when on, or until when, with its interval (and what that is); "not certain" where it allows another. `unit`
    is what is counted."""
    doubt = "" if found.sure else ", not certain within the intervals"
    if found.count is None:
        words = {"always": f"from the first {unit} on", "never": "never", "equal": "the same at any number"}
        return f"{words[found.when]}{doubt}"
    count = f"{times(found.count)} {unit}s"
    text = f"from {count} on" if found.when == "from" else f"until {count}"
    if found.low is None or found.low == found.count == found.high:
        return f"{text}{doubt}"
    ends = f"{times(found.low)} or more" if found.high is None else f"{times(found.low)} to {times(found.high)}"
    return f"{text} ({interval}: {ends}){doubt}"


def carbon_text(carbon: Carbon) -> str:
    """What a kWh is taken to emit, and why."""
    return f"{carbon.g_per_kwh:g} g CO2e a kWh, {carbon.source}"


def times(count: float) -> str:
    """A number of inferences: digits up to a million, then a power of ten."""
    return f"{count:,.0f}" if count < 1e6 else f"{count:.3g}"
