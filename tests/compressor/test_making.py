"""What making takes: measured where there is a sensor, estimated and labelled elsewhere, earlier attempts included."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from compressor import making as module
from compressor.devices.runner.power import Sensor
from compressor.making import Ledger, Spent
from compressor.targets import Figure

CORE = Figure(10.0, "estimate: test")


class Counter(Sensor):
    """Counts energy: so many joules more at each reading; then it may stop answering."""

    name, counts = "RAPL test", True

    def __init__(self, step: float = 5.0, readings: int = 10**9) -> None:
        self.step, self.left, self.total = step, readings, 100.0

    def read(self) -> float | None:
        self.left -= 1
        self.total += self.step
        return self.total if self.left >= 0 else None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """CPU and wall seconds, set by hand; no background readings."""
    now = [100.0, 1000.0]
    monkeypatch.setattr(module, "_cpu_seconds", lambda: now[0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[1])
    monkeypatch.setattr(module, "find_sensor", lambda: None)
    monkeypatch.setattr(module, "TICK", 3600.0)
    return now


def test_without_a_sensor_it_is_cpu_seconds_times_watts_and_says_so(clock: list[float]) -> None:
    with Ledger(core=CORE) as ledger:
        clock[:] = [103.0, 1002.0]
        made = ledger.making()
    assert (made.cpu_seconds, made.seconds, made.joules, made.measured) == (3.0, 2.0, 30.0, False)
    assert made.source == "estimated: CPU seconds × 10 W a core (estimate: test)"


def test_with_a_sensor_it_is_what_the_sensor_counted(clock: list[float]) -> None:
    with Ledger(Counter(), CORE) as ledger:
        made = ledger.making()
    assert (made.joules, made.measured) == (5.0, True)
    assert made.source == "measured: RAPL test, all that the machine did meanwhile"


def test_a_sensor_that_tells_power_is_summed_over_time(clock: list[float]) -> None:
    class Rail(Counter):
        counts = False

    with Ledger(Rail(step=0.0), CORE) as ledger:  # 100 W
        clock[1] += 2.0
        assert ledger.making().joules == pytest.approx(200.0)


def test_a_sensor_that_stops_answering_leaves_the_estimate(clock: list[float]) -> None:
    with Ledger(Counter(readings=1), CORE) as ledger:
        clock[0] += 2.0
        made = ledger.making()
    assert (made.joules, made.measured) == (20.0, False)
    assert made.source.startswith("estimated: CPU seconds")


def test_a_sensor_lost_within_a_stage_leaves_its_share_of_the_estimate(clock: list[float]) -> None:
    with Ledger(Counter(step=500.0, readings=3), CORE) as ledger:
        clock[0] += 1.0
        ledger.so_far()
        with ledger.stage("key", None):
            clock[0] += 3.0
        assert ledger.last_stage == Spent(0.0, 3.0, 30.0, measured=False)


def test_a_stage_of_an_earlier_run_costs_what_it_took_then_and_only_once(clock: list[float]) -> None:
    with Ledger(core=CORE) as ledger:
        for _ in range(2):
            ledger.take("key", Spent(4.0, 7.0, 70.0, measured=False))
        clock[0] += 1.0
        made = ledger.making()
    assert (made.cpu_seconds, made.joules, made.earlier_cpu_seconds, made.seconds) == (8.0, 80.0, 7.0, 4.0)


def test_a_measured_run_on_estimated_stages_is_an_estimate(clock: list[float]) -> None:
    with Ledger(Counter(), CORE) as ledger:
        ledger.take("key", Spent(4.0, 7.0, 70.0, measured=False))
        made = ledger.making()
    assert (made.joules, made.measured) == (75.0, False)
    assert made.source.startswith("estimated: partly CPU seconds")


def test_a_stage_of_this_run_counts_already(clock: list[float]) -> None:
    with Ledger(core=CORE) as ledger:
        with ledger.stage("key", None):
            clock[0] += 3.0
        assert ledger.last_stage == Spent(0.0, 3.0, 30.0, measured=False)
        ledger.take("key", ledger.last_stage)
        assert ledger.making().cpu_seconds == 3.0


def test_an_interrupted_stage_leaves_what_it_took_and_the_next_attempt_adds_it(
    clock: list[float], tmp_path: Path
) -> None:
    note = tmp_path / "work" / "spent.json"
    with Ledger(core=CORE) as ledger, pytest.raises(KeyboardInterrupt), ledger.stage("key", note):  # noqa: PT012
        clock[0] += 3.0
        raise KeyboardInterrupt
    assert json.loads(note.read_text())["cpu_seconds"] == 3.0
    with Ledger(core=CORE) as ledger:
        with ledger.stage("key", note):
            clock[0] += 2.0
        assert ledger.last_stage.cpu_seconds == 5.0
        made = ledger.making()
    assert (made.cpu_seconds, made.earlier_cpu_seconds, made.joules) == (5.0, 3.0, 50.0)


def test_a_stage_that_is_killed_has_left_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "TICK", 0.001)
    monkeypatch.setattr(module, "WRITE", 0.0)
    note = tmp_path / "spent.json"
    with Ledger(core=CORE) as ledger, ledger.stage("key", note):
        while not note.exists():
            pass
        assert Spent.from_json(json.loads(note.read_text())).seconds > 0


def test_where_no_note_can_be_written_the_run_goes_on(clock: list[float], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    note = tmp_path / "file" / "spent.json"
    with Ledger(core=CORE) as ledger, pytest.raises(KeyboardInterrupt), ledger.stage("key", note):
        raise KeyboardInterrupt


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"measured": true}', "[" * 100_000])
def test_a_damaged_note_is_not_known(clock: list[float], tmp_path: Path, text: str) -> None:
    (tmp_path / "spent.json").write_text(text)
    with Ledger(core=CORE) as ledger, ledger.stage("key", tmp_path / "spent.json"):
        assert ledger.making().earlier_cpu_seconds == 0.0


@pytest.mark.parametrize("value", [-1.0, math.nan, True, "1", None])
def test_what_is_no_cost_is_refused(value: Any) -> None:
    right = Spent(1.0, 2.0, 3.0, measured=False)
    assert Spent.from_json(right.to_json()) == right
    with pytest.raises(ValueError, match="not what a stage took"):
        Spent.from_json({**right.to_json(), "joules": value})


def test_this_process_is_counted() -> None:
    with Ledger() as ledger:
        sum(range(10**6))
        made = ledger.making()
    assert made.cpu_seconds >= 0
    assert made.joules >= 0
    assert made.source.startswith("measured: " if made.measured else "estimated: ")
