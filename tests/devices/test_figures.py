"""Figures from events, to numbers that can be worked out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from compressor.devices.figures import Figures, figures, versus
from compressor.devices.runner.timing import thinned

LOADED = {
    "load_ms": 20.0, "first_ms": 5.0, "peak_bytes": 6000, "before_bytes": 5000, "providers": ["CPU"],
    "errors": {"y": 1e-5},
}  # fmt: skip


def block(*milliseconds: float) -> dict[str, Any]:
    return {
        "runs": len(milliseconds), "seconds": sum(milliseconds) / 1e3, "median_ms": float(np.median(milliseconds)),
        "min_ms": min(milliseconds), "sample_ms": thinned(milliseconds),
    }  # fmt: skip


def made(blocks: dict[int, dict[str, Any]], energy: dict[str, Any] | None = None, name: str = "a") -> Figures:
    return figures(name, 2, 0.01, {"y": 0.0}, LOADED, blocks, energy)


def test_percentiles_are_those_of_all_runs() -> None:
    found = made({0: block(1, 2, 3), 1: block(10, 4)})
    expected = np.percentile([1, 2, 3, 4, 10], (50, 90, 99))
    assert (found.p50, found.p90, found.p99) == pytest.approx(tuple(expected))
    assert (found.min, found.runs) == (1, 5)
    assert found.throughput == pytest.approx(2 * 5 / 0.020)
    assert found.rounds == {0: 2.0, 1: 7.0}


def test_thinned_blocks_count_as_many_runs_as_they_stand_for() -> None:
    random = np.random.default_rng(0)
    fast, slow = list(random.lognormal(0, 0.1, 3000)), list(random.lognormal(1, 0.1, 100))
    found = made({0: block(*fast), 1: block(*slow)})
    expected = np.percentile([*fast, *slow], (50, 90, 99))
    assert (found.p50, found.p90, found.p99) == pytest.approx(tuple(expected), rel=0.01)


def test_one_run_is_all_percentiles() -> None:
    found = made({0: block(7.0)})
    assert (found.min, found.p50, found.p99) == (7.0, 7.0, 7.0)


def test_energy_a_run_and_above_idle() -> None:
    event = {"sensor": "S", "joules": 8.0, "seconds": 2.0, "runs": 100, "idle_watts": 1.0, "samples": 50}
    energy = made({0: block(1.0)}, event).energy
    assert energy is not None
    assert (energy.mj, energy.above_idle_mj, energy.watts) == (80.0, 60.0, 4.0)
    unknown = made({0: block(1.0)}, {**event, "idle_watts": None}).energy
    assert unknown is not None
    assert unknown.above_idle_mj is None


def test_a_sensor_that_was_lost_gives_no_energy() -> None:
    event = {"sensor": "S", "joules": None, "seconds": 2.0, "runs": 100, "idle_watts": 1.0, "samples": 1}
    assert made({0: block(1.0)}, event).energy is None


def test_bundles_are_compared_by_the_rounds_that_both_were_in() -> None:
    first = made({index: block(10.0) for index in range(40)})
    second = made({index: block(5.0) for index in range(20, 60)}, name="b")
    found = versus(first, second)
    assert (found.low, found.ratio, found.high, found.word) == (0.5, 0.5, 0.5, "faster")
    assert versus(second, first).word == "slower"
    assert versus(first, first).word == "same"
    with pytest.raises(ValueError, match="no rounds"):
        versus(first, made({99: block(1.0)}))


def test_it_is_json() -> None:
    found = json.loads(json.dumps(made({0: block(1.0, 2.0)}).to_json()))
    assert found["p50"] == 1.5
    assert "times" not in found
    broken = figures("a", 1, 0.01, {"y": 0.0}, {**LOADED, "errors": {"y": float("nan")}}, {0: block(1.0)}, None)
    assert broken.to_json()["errors_as_timed"] == {"y": None}
