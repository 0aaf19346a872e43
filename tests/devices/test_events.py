"""Events are what their names promise, or none."""

from __future__ import annotations

import math
from typing import Any

import pytest

from compressor.devices.events import sound, subjects

BLOCK = {"runs": 3, "seconds": 0.1, "median_ms": 2.0, "min_ms": 1.0, "sample_ms": [1.0, 2.0]}
ROUND = {"event": "round", "index": 0, "clock_mhz": None, "blocks": {"a": BLOCK}}
GOLDEN = {"event": "golden", "id": "a", "errors": {"y": math.inf}}
LOADED = {
    "event": "loaded", "id": "a", "load_ms": 1.0, "first_ms": 2.0, "peak_bytes": None, "before_bytes": 5,
    "providers": ["CPUExecutionProvider"], "errors": {},
}  # fmt: skip
VISIT = {"event": "visit", "id": "a@1#7", "job": "a@1", "seconds": 1.0, "blocks": [[1.0, 2.0, 3.0]]}
COUNTED = {"event": "counted", "id": "a", "instructions": 5}
ENERGY = {
    "event": "energy", "id": "a", "joules": None, "seconds": 0.0, "runs": 1, "idle_watts": None, "sensor": "INA3221",
    "samples": 3,
}  # fmt: skip
DECODED = {"event": "decoded", "id": "a", "first_ms": 9.0, "token_ms": 1.5, "read": 128, "steps": 32, "runs": 3}
STATE = {"event": "state", "temperatures": {"cpu": 40.0}, "throttled": {"now": [], "occurred": ["throttled"]}}


@pytest.mark.parametrize(
    "event", [ROUND, GOLDEN, LOADED, VISIT, COUNTED, DECODED, ENERGY, STATE, {"event": "other"}, {}]
)
def test_sound_ones(event: dict[str, Any]) -> None:
    assert sound(event)


@pytest.mark.parametrize("event", [ROUND, GOLDEN, LOADED, VISIT, COUNTED, DECODED, ENERGY])
def test_each_field_is_asked_for(event: dict[str, Any]) -> None:
    optional = {"event", "clock_mhz", "peak_bytes", "before_bytes", "joules", "idle_watts"}
    for field in event.keys() - optional:
        assert not sound({**event, field: None}), field
        assert not sound({**event, field: object()}), field


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0, 0, 10**400, True, "1", [], {}, None])
def test_times_are_positive_numbers(wrong: object) -> None:
    for field in ("seconds", "median_ms", "min_ms"):
        assert not sound({**ROUND, "blocks": {"a": {**BLOCK, field: wrong}}}), field
    assert not sound({**ROUND, "blocks": {"a": {**BLOCK, "sample_ms": [wrong]}}})
    assert not sound({**VISIT, "blocks": [[1.0, 1.0, wrong]]})


@pytest.mark.parametrize("wrong", [-1, 1.5, 10**400, True, "1", None])
def test_counts_are_whole(wrong: object) -> None:
    assert not sound({**ROUND, "index": wrong})
    assert not sound({**COUNTED, "instructions": wrong})
    assert not sound({**ENERGY, "runs": wrong})


@pytest.mark.parametrize("wrong", [{"temperatures": {"cpu": "hot"}}, {"throttled": []}, {"throttled": {"now": [1]}}])
def test_states_too(wrong: dict[str, Any]) -> None:
    assert not sound({**STATE, **wrong})


def test_a_visit_has_its_number() -> None:
    assert not sound({**VISIT, "id": "a@1"})
    assert not sound({**VISIT, "id": "a@1#²"})


def test_what_events_are_about() -> None:
    assert subjects(ROUND) == {"a"}
    assert subjects(GOLDEN) == {"a"}
    assert subjects(VISIT) == {"a@1"}, "not its own name"
    assert subjects(STATE) == set()
