"""`compress calibrate`: a handful of networks measured, and from then on the target's model is bent to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards import board
from own_device import OwnDevice

from compressor import calibrating
from compressor.calibrating import calibrate_target
from compressor.devices.latency.lookup import calibration_file, latency_model, processor
from compressor.devices.model_timing import Timing
from compressor.errors import DeviceError, OutputError
from compressor.graph.program import Program
from compressor.targets import load_target

QUICK = Timing(runs=2, seconds=0.0, warmup=0.0)


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))
    few = (("recurrent", 1, "plain"), ("inverted", 9, "plain"), ("mixed", 2, "plain"))
    monkeypatch.setattr(calibrating, "CHOSEN", few)


def test_what_was_measured_answers_from_then_on(conv_program: Program, tmp_path: Path) -> None:
    target = board()
    assert not latency_model(target).predict(conv_program, target).calibrated
    found = calibrate_target(OwnDevice(), target, tmp_path / "work", timing=QUICK)
    assert calibration_file(target.name).is_file()
    assert len(found.measured) == 3
    answer = latency_model(target).predict(conv_program, target)
    assert answer.calibrated
    assert "calibrated by 3 networks measured on test" in answer.source
    assert answer.interval_ms is not None


def test_a_calibration_of_this_machine_is_of_it_whatever_the_device_calls_it(
    conv_program: Program, tmp_path: Path
) -> None:
    host = load_target("host")
    found = calibrate_target(OwnDevice(url="local"), host, tmp_path / "work", timing=QUICK)
    assert found.about["cpu"] == processor(host)
    assert "calibrated by 3 networks" in latency_model(host).predict(conv_program, host).source
    found = calibrate_target(OwnDevice(url="ssh://another"), host, tmp_path / "work", timing=QUICK)
    assert found.about["cpu"] == "test"
    assert "calibrated by 3 networks" not in latency_model(host).predict(conv_program, host).source


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder would be")
    device = OwnDevice()
    with pytest.raises(OutputError, match="cannot be written"):
        calibrate_target(device, board(), tmp_path / "work", timing=QUICK)
    with pytest.raises(OutputError, match="cannot be written"):
        calibrate_target(device, board(), tmp_path / "config" / "work", timing=QUICK)
    assert device.tasks == []


def test_an_emulated_device_teaches_no_time(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="emulated"):
        calibrate_target(OwnDevice(timed=False), board(), tmp_path / "work", timing=QUICK)
    assert not calibration_file("board").exists()
    assert not (tmp_path / "work").exists(), "and no network is made for it"


def test_a_board_of_another_kind_does_not_answer_for_the_target(tmp_path: Path) -> None:
    for target, reason in ((board(arch="aarch64"), "board is aarch64"), (board("NoSuchProvider"), "NoSuchProvider")):
        with pytest.raises(DeviceError, match=reason):
            calibrate_target(OwnDevice(), target, tmp_path / "work", timing=QUICK)
    assert not calibration_file("board").exists()
    assert not (tmp_path / "work").exists(), "nothing was made in vain"
