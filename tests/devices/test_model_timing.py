"""Many small models on a device: in batches, each with its rounds, gone on with after the device was lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from own_device import OwnDevice, program
from small_models import kernel

from compressor.devices.model_jobs import Job
from compressor.devices.model_timing import Timed, Timing, time_models
from compressor.errors import DeviceError, DeviceLostError

QUICK = Timing(runs=2, seconds=0.0, warmup=0.0, batch=2)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    np.savez(tmp_path / "x.npz", x=np.ones((3, 16), np.float32))
    random = {"x": {"shape": [1, 8], "dtype": "float32", "low": -1, "high": 1}}
    return [
        Job(kernel(tmp_path / "a.onnx", 8), random),
        Job(kernel(tmp_path / "bad.onnx", 8, "no.such.domain"), random),
        Job(kernel(tmp_path / "b.onnx", 16), {"x": {"npz": tmp_path / "x.npz", "batch": 1}}),
    ]


def test_every_job_has_rounds_or_says_why_not(jobs: list[Job]) -> None:
    device = OwnDevice()
    first, bad, last = time_models(device, jobs, QUICK)
    assert device.tasks == ["rounds", "rounds"], "two batches"
    for each in (first, last):
        assert each.runs >= 2
        assert len(each.rounds) >= 1
        assert each.median_ms > 0
    assert bad.rounds == ()
    assert bad.error.startswith("load: ")
    with pytest.raises(ValueError, match="not timed"):
        _ = bad.median_ms


def test_the_same_job_twice_is_timed_once(jobs: list[Job]) -> None:
    device = OwnDevice()
    first, second = time_models(device, [jobs[0], jobs[0]], QUICK)
    assert first == second
    assert device.tasks == ["rounds"]


def test_a_lost_device_costs_only_the_batch_it_was_in(jobs: list[Job], tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(DeviceLostError):
        time_models(Counting(lost_at_task=2), jobs, QUICK, folder=state)
    [journal] = state.iterdir()
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    kept = [event["blocks"] for event in events if event["event"] == "round"]
    device = OwnDevice()
    first, bad, last = time_models(device, jobs, QUICK, folder=state)
    assert device.tasks == ["rounds"], "only the second batch"
    assert first.rounds == tuple(block["median_ms"] for blocks in kept for block in blocks.values())
    assert bad.error
    assert last.runs >= 2
    assert list(state.iterdir()) == []


class Counting(OwnDevice):
    """Lost when it is asked for its n-th task."""

    def __init__(self, lost_at_task: int) -> None:
        super().__init__()
        self.lost_at_task = lost_at_task

    def run(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if len(self.tasks) + 1 == self.lost_at_task:
            self.lost_after = 0
        return super().run(*arguments, **options)


def test_a_batch_that_was_timed_on_a_slowed_board_is_marked(jobs: list[Job], tmp_path: Path) -> None:
    device = OwnDevice(path=program(tmp_path / "bin", "vcgencmd", 'test "$1" = get_throttled && echo throttled=0x4'))
    [found] = time_models(device, jobs[:1], QUICK)
    assert found.throttled == ("the board reports: throttled",)
    assert found.rounds


def test_an_emulated_device_is_not_timed(jobs: list[Job]) -> None:
    with pytest.raises(DeviceError, match="emulated"):
        time_models(OwnDevice(timed=False), jobs, QUICK)


def test_the_median_is_of_the_rounds() -> None:
    assert Timed((3.0, 1.0, 2.0), 3).median_ms == 2.0
