"""Predicted against measured: kept, and what follows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from compressor.devices.latency.history import Outcome, history_file, past, record

ONE = Outcome("host", "cpu", 1, "a", "profile", raw_ms=10.0, predicted_ms=10.0, measured_ms=12.0, date="2026-01-01")


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))


def outcome(**changes: object) -> Outcome:
    return Outcome(**{**ONE.__dict__, **changes})  # type: ignore[arg-type]


def test_without_a_past_nothing_changes() -> None:
    found = past("host", "cpu", "profile")
    assert (found.errors, found.factor, found.text()) == ((), 1.0, "")


def test_a_line_of_before_devices_were_told_is_read() -> None:
    line = {name: value for name, value in ONE.__dict__.items() if name != "device"}
    history_file().parent.mkdir(parents=True)
    history_file().write_text(json.dumps(line) + "\n")
    assert len(past("host", "cpu", "profile").errors) == 1


def test_one_measurement_moves_a_little_and_many_by_their_median() -> None:
    record(ONE)
    assert past("host", "cpu", "profile").factor == pytest.approx(math.exp(math.log(1.2) / 5))
    for name in "bcdefghijklmnopqrstuvwxyz":
        record(outcome(program=name))
    assert past("host", "cpu", "profile").factor == pytest.approx(1.2 ** (26 / 30))


def test_the_factor_is_of_what_was_predicted_without_it_and_the_error_of_what_was_said() -> None:
    record(outcome(raw_ms=10.0, predicted_ms=11.0, measured_ms=10.0))
    found = past("host", "cpu", "profile")
    assert found.factor == 1.0
    assert found.errors == (pytest.approx(0.1),)
    assert found.text() == "of its last prediction here: error +10.0%"


def test_a_program_counts_once_with_its_last() -> None:
    for measured in (50.0, 40.0, 10.0):
        record(outcome(measured_ms=measured))
    found = past("host", "cpu", "profile")
    assert len(found.errors) == 1
    assert found.factor == 1.0


def test_other_targets_processors_and_profiles_have_their_own() -> None:
    record(ONE)
    for key in (("raspberry-pi-5", "cpu", "profile"), ("host", "other", "profile"), ("host", "cpu", "a roofline")):
        assert past(*key).errors == ()


def test_what_is_out_of_all_proportion_does_not_move_it() -> None:
    record(outcome(measured_ms=1e4))
    assert past("host", "cpu", "profile").factor == 1.0
    assert len(past("host", "cpu", "profile").errors) == 1, "it is told all the same"


def test_a_damaged_file_costs_only_the_damaged_lines() -> None:
    record(ONE)
    with history_file().open("a") as file:
        file.write('{"half\n[1]\n{"target": "host"}\n')
    record(outcome(program="b"))
    assert len(past("host", "cpu", "profile").errors) == 2


def test_a_disk_that_refuses_costs_only_the_memory(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder would be")
    assert record(ONE) is False


def test_the_past_is_told_in_a_sentence() -> None:
    record(outcome(predicted_ms=9.0))
    record(outcome(program="b", predicted_ms=13.2))
    text = "of its last 2 predictions here: median error 17.5%, worst -25.0%"
    assert past("host", "cpu", "profile").text() == text


@pytest.mark.parametrize("time", [math.inf, math.nan, 0.0, -1.0, 1e-300, 10**400, True, "10"])
def test_a_time_that_cannot_be_is_not_kept(time: object) -> None:
    for name in ("raw_ms", "predicted_ms", "measured_ms"):
        assert record(outcome(**{name: time})) is False
    assert not history_file().exists()


@pytest.mark.parametrize(
    "line",
    [
        f'{{"raw_ms": {time}, "predicted_ms": 1.0, "measured_ms": 1.0, "program": "x", "threads": 1}}'
        for time in ("Infinity", "NaN", "1e999", "1" + "0" * 400, "true", '"10"', "null", "[1]")
    ]
    + [
        '{"raw_ms": 1.0, "predicted_ms": 1.0, "measured_ms": 1.0, "program": ["x"], "threads": 1}',
        '{"raw_ms": 1.0, "predicted_ms": 1.0, "measured_ms": 1.0, "program": "x", "threads": {}}',
        "[" * 100_000,
    ],
)
def test_lines_that_say_nothing_sensible_are_passed_over(line: str) -> None:
    record(ONE)
    with history_file().open("a") as file:
        file.write(line.replace("{", '{"target": "host", "cpu": "cpu", "source": "profile", "date": "", ', 1) + "\n")
    assert past("host", "cpu", "profile").factor == pytest.approx(math.exp(math.log(1.2) / 5))
