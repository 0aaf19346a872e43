"""Throttled and unstable runs are told from steady ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compressor.devices.figures import Figures
from compressor.devices.stability import throttling, unsteadiness

STEADY = Figures(
    "digits", 1.0, 1.0, 1.0, 1.1, 1.2, 0.9, 100, 1.0, (), {}, {}, 0.01, rounds=dict.fromkeys(range(12), 1.0)
)


def bits(now: list[str], occurred: list[str]) -> dict[str, Any]:
    return {"throttled": {"now": now, "occurred": occurred}}


def test_a_cool_board_is_not_throttled() -> None:
    state = {**bits([], ["throttled"]), "temperatures": {"cpu": 79.9}, "limits": {"cpu": 80.0}, "throttle_count": 3}
    assert throttling([state, state, state]) == []
    assert throttling([{}, {}]) == []
    assert throttling([]) == []


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([bits(["under-voltage"], []), bits([], [])], "under-voltage"),
        ([bits([], []), bits(["throttled"], ["throttled"])], "throttled"),
        ([bits([], []), bits([], ["frequency capped"])], "frequency capped"),
        ([{}, {"temperatures": {"cpu": 80.0}, "limits": {"cpu": 80.0}}], "80 °C"),
        ([{"throttle_count": 3}, {"throttle_count": 5}], "2 times"),
    ],
)
def test_each_sign_of_throttling_is_told(states: list[dict[str, Any]], told: str) -> None:
    [reason] = throttling(states)
    assert told in reason


def test_a_reason_is_told_once() -> None:
    assert len(throttling([bits(["throttled"], [])] * 3)) == 1


def test_a_steady_run_passes() -> None:
    assert unsteadiness([STEADY], [2400.0] * 12) == []
    assert unsteadiness([STEADY], [None] * 12) == []


def test_drift_is_told_by_bundle_and_direction() -> None:
    slower = replace(STEADY, rounds={index: 1.0 + 0.01 * index for index in range(12)})
    [reason] = unsteadiness([STEADY, replace(slower, name="other")], [])
    assert "other" in reason
    assert "+8%" in reason
    assert unsteadiness([replace(STEADY, rounds={0: 1.0, 1: 2.0})], []) == [], "too few rounds to say"


def test_spread_is_told() -> None:
    [reason] = unsteadiness([replace(STEADY, p90=1.5)], [])
    assert "1.50 times" in reason


def test_a_falling_clock_is_told() -> None:
    [reason] = unsteadiness([STEADY], [2400.0] * 6 + [1800.0] * 6)
    assert "2400 to 1800 MHz" in reason
