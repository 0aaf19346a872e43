"""What a run's events come to: latencies, memory, throughput and energy by bundle, and ratios with intervals.

percentile:    over all runs; a block of n runs that sent k times counts each as n / k runs
throughput = rows · runs / seconds
energy a run = joules / runs        above idle: (joules − idle · seconds) / runs
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from compressor.devices.side_by_side import interval

__all__ = ["Answer", "Comparison", "Energy", "Figures", "figures", "versus"]


@dataclass(frozen=True)
class Energy:
    """Millijoules a run: all that the sensor covers, and what is above the idle board; powers in watts."""

    sensor: str
    mj: float
    above_idle_mj: float | None
    watts: float
    idle_watts: float | None
    samples: int


@dataclass(frozen=True)
class Answer:
    """Of a decoder with a key–value cache: milliseconds until its first token, after `read` tokens at once, and of each
    of `steps` further ones; medians of `runs` answers."""

    first_ms: float
    token_ms: float
    read: int
    steps: int
    runs: int


@dataclass(frozen=True)
class Figures:
    """One bundle. Latencies in milliseconds; `throughput` in samples a second.

    `peak_memory_bytes` is of a process that holds this model alone, `runtime_bytes` what it held before the model.
    `errors` are of the golden outputs; `errors_as_timed` with the runtime's default kernels. `rounds` are the medians
    by number of the round, `times` single runs with the number of runs that each stands for.
    """

    name: str
    load_ms: float
    first_ms: float
    p50: float
    p90: float
    p99: float
    min: float
    runs: int
    throughput: float
    providers: tuple[str, ...]
    errors: Mapping[str, float]
    errors_as_timed: Mapping[str, float]
    tolerance: float
    peak_memory_bytes: int | None = None
    runtime_bytes: int | None = None
    energy: Energy | None = None
    answer: Answer | None = None
    rounds: Mapping[int, float] = field(default_factory=dict, repr=False)
    times: tuple[tuple[float, float], ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """All but single runs; an error that is not finite is None, for JSON has no infinity."""
        finite = {name: error if math.isfinite(error) else None for name, error in self.errors_as_timed.items()}
        return {name: value for name, value in {**asdict(self), "errors_as_timed": finite}.items() if name != "times"}


@dataclass(frozen=True)
class Comparison:
    """How many times as long `name` takes as `baseline`: the median of the rounds' ratios, and its 95% interval."""

    name: str
    baseline: str
    low: float
    ratio: float
    high: float

    @property
    def word(self) -> str:
        """ "faster", "slower", or "same" where the interval holds 1."""
        return "faster" if self.high < 1 else "slower" if self.low > 1 else "same"


def figures(
    name: str,
    rows: int,
    tolerance: float,
    golden: Mapping[str, float],
    loaded: Mapping[str, Any],
    rounds: Mapping[int, Mapping[str, Any]],
    energy: Mapping[str, Any] | None,
    decoded: Mapping[str, Any] | None = None,
) -> Figures:
    """From a bundle's events; `rounds` are its blocks by number."""
    blocks = list(rounds.values())
    times = tuple((time, block["runs"] / len(block["sample_ms"])) for block in blocks for time in block["sample_ms"])
    p50, p90, p99 = _percentiles(times, (50, 90, 99))
    runs, seconds = sum(block["runs"] for block in blocks), sum(block["seconds"] for block in blocks)
    return Figures(
        name=name, load_ms=loaded["load_ms"], first_ms=loaded["first_ms"], p50=p50, p90=p90, p99=p99,
        min=min(block["min_ms"] for block in blocks), runs=runs, throughput=rows * runs / seconds,
        providers=tuple(loaded["providers"]), errors=golden, errors_as_timed=loaded["errors"], tolerance=tolerance,
        peak_memory_bytes=loaded["peak_bytes"], runtime_bytes=loaded["before_bytes"],
        energy=_energy(energy), answer=_answer(decoded),
        rounds={index: block["median_ms"] for index, block in rounds.items()}, times=times,
    )  # fmt: skip


def versus(baseline: Figures, other: Figures) -> Comparison:
    """The second against the first, by the rounds that both were in. Raises ValueError when there are none."""
    shared = sorted(set(baseline.rounds) & set(other.rounds))
    ratios = [other.rounds[index] / baseline.rounds[index] for index in shared]
    return Comparison(other.name, baseline.name, *interval(ratios))


def _percentiles(times: Sequence[tuple[float, float]], ranks: Sequence[float]) -> list[float]:
    """NumPy's linear percentiles where every time stands for one run; the same rule by weight otherwise."""
    values, weights = np.array(sorted(times)).T
    positions = np.cumsum(weights) - weights / 2
    span = (positions - positions[0]) / (positions[-1] - positions[0]) if len(values) > 1 else positions * 0
    return [float(each) for each in np.interp(np.array(ranks) / 100, span, values)]


def _answer(event: Mapping[str, Any] | None) -> Answer | None:
    return None if event is None else Answer(**{field.name: event[field.name] for field in fields(Answer)})


def _energy(event: Mapping[str, Any] | None) -> Energy | None:
    """None where the sensor was lost on the way."""
    if event is None or event["joules"] is None or not event["seconds"]:
        return None
    joules, runs, idle = event["joules"], event["runs"], event["idle_watts"]
    above = None if idle is None else (joules - idle * event["seconds"]) / runs * 1e3
    return Energy(event["sensor"], joules / runs * 1e3, above, joules / event["seconds"], idle, event["samples"])
