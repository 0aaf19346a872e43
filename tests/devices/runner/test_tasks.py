"""Each task's events, as whoever reads the lines sees them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compressor.devices.runner.main import main

QUICK = {"min_runs": 3, "min_seconds": 0.0, "warmup_seconds": 0.0, "energy_seconds": 0.01, "idle_seconds": 0.0}
GOLDEN = {"npz": "golden.npz", "inputs": ["x"], "outputs": ["output"], "ties": 0.05}
GOOD = {"model": "model.onnx", "inputs": {"x": {"npz": "golden.npz", "batch": 1}}, "threads": 1, "golden": GOLDEN}
BAD = {**GOOD, "id": "bad", "model": "golden.npz"}


@pytest.fixture
def there(tmp_path: Path, digits_bundle: Path) -> Path:
    for name in ("model.onnx", "golden.npz"):
        shutil.copyfile(digits_bundle / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(there: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(task: str, *jobs: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
        document = {"root": str(there), **QUICK, **settings, "jobs": list(jobs)}
        (there / "jobs.json").write_text(json.dumps(document))
        assert main([task, str(there / "jobs.json")]) == 0
        *events, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert last == {"event": "done"}
        return events

    return run


def test_check_describes_and_compares_and_a_bad_one_stops_nobody(run: Any) -> None:
    described, failed, golden = run("check", BAD, GOOD)
    assert described["event"] == "description"
    assert described["onnxruntime"]
    assert (failed["event"], failed["id"], failed["kind"]) == ("failed", "bad", "load")
    assert (golden["event"], golden["id"]) == ("golden", "1")
    assert golden["errors"]["output"] < 0.02


def test_what_has_no_golden_vectors_is_not_compared(run: Any) -> None:
    plain = {name: value for name, value in GOOD.items() if name != "golden"}
    assert [event["event"] for event in run("check", plain)] == ["description"]


def test_load(run: Any) -> None:
    [loaded] = run("load", GOOD)
    assert loaded["load_ms"] > 0
    assert loaded["first_ms"] > 0
    assert loaded["providers"] == ["CPUExecutionProvider"]
    assert set(loaded["errors"]) == {"output"}
    assert loaded["peak_bytes"] >= loaded["before_bytes"] > 2**20


def test_rounds_hold_every_job_and_go_on_by_number(run: Any) -> None:
    events = run("rounds", GOOD, BAD, {**GOOD, "id": "2", "done": {"runs": 10**6}}, first_round=7, samples=True)
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["state", "failed"]
    assert set(kinds[2:-1]) == {"round"}
    assert kinds[-1] == "state"
    rounds = events[2:-1]
    assert [event["index"] for event in rounds] == list(range(7, 7 + len(rounds)))
    assert all(set(event["blocks"]) == {"0"} for event in rounds), "2 had had enough"
    block = rounds[0]["blocks"]["0"]
    assert len(block["sample_ms"]) == min(block["runs"], 256)
    if block["runs"] <= 256:
        assert block["sample_ms"][0] == pytest.approx(block["min_ms"], rel=1e-4)
    assert block["min_ms"] * (1 - 1e-4) <= block["sample_ms"][0] <= block["median_ms"], "of many, one in so many"
    assert block["min_ms"] <= block["median_ms"] <= block["seconds"] * 1e3
    assert sum(event["blocks"]["0"]["runs"] for event in rounds) >= 3


def test_single_runs_are_sent_only_when_asked_for(run: Any) -> None:
    events = run("rounds", GOOD)
    assert all("sample_ms" not in event["blocks"]["0"] for event in events if event["event"] == "round")


def test_the_state_and_the_clock_are_told(run: Any, there: Path) -> None:
    folder = there / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text("1500000")
    events = run("rounds", GOOD)
    assert events[0]["clocks"] == events[-1]["clocks"] == {"cpu0": {"mhz": 1500.0}}
    assert events[1]["clock_mhz"] == 1500.0


def test_without_a_sensor_there_is_no_energy(run: Any) -> None:
    assert [event["event"] for event in run("energy", GOOD)] == ["state"]


def test_energy_is_power_times_time(run: Any, there: Path) -> None:
    folder = there / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for name, content in (("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", "2000")):
        (folder / name).write_text(content)
    assert run("check")[0]["sensor"] == "INA3221 VDD_IN"
    failed, energy, state = run("energy", BAD, GOOD)
    assert (failed["event"], state["event"]) == ("failed", "state")
    assert energy["joules"] == pytest.approx(10.0 * energy["seconds"])
    assert energy["idle_watts"] == pytest.approx(10.0)
    assert energy["runs"] >= 1
    assert energy["sensor"] == "INA3221 VDD_IN"
