"""`compress calibrate` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressor import calibrating
from compressor.cli.main import run
from compressor.devices.latency.calibration import KINDS, Calibration
from compressor.devices.latency.lookup import calibration_file, user_profile


def test_what_is_asked_for_is_measured_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def stand_in(device: Any, target: Any, work: Path, **options: Any) -> Calibration:
        asked.update(device=device.url, target=target.name, **options)
        return Calibration("roofline", dict.fromkeys(KINDS, 1.5), 0.1, {"a": 1.0, "b": 2.0, "c": 3.0})

    monkeypatch.setattr(calibrating, "calibrate_target", stand_in)
    assert run(["calibrate", "--device", "local", "--target", "rpi5", "--models", "5", "--threads", "2", "-q"]) == 0
    assert (asked["device"], asked["models"], asked["threads"]) == ("local", 5, 2)
    shown = capsys.readouterr().out
    assert "3 networks measured; roofline bent by: convolution 1.50×" in shown
    assert "left out in turn, all 3 are within 11%" in shown


def test_a_calibration_that_a_profile_comes_before_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path))
    found = Calibration("roofline", dict.fromkeys(KINDS, 1.5), 0.1, {str(index): 1.0 for index in range(9)})

    def stand_in(*_: Any, **__: Any) -> Calibration:
        file = calibration_file("raspberry-pi-5")
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found.to_json()))
        return found

    monkeypatch.setattr(calibrating, "calibrate_target", stand_in)
    assert run(["calibrate", "--target", "rpi5", "-q"]) == 0
    shown = capsys.readouterr().out
    assert "nine of ten are within" in shown
    assert "not used" not in shown
    profile = user_profile("raspberry-pi-5")
    profile.mkdir(parents=True)
    (profile / "model.json").write_text("{}")
    assert run(["calibrate", "--target", "rpi5", "-q"]) == 0
    assert f"not used here: raspberry-pi-5 is answered from {profile}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--models", "2"], ["--target", "no"], ["--device", "no://where"]])
def test_bad_arguments_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", *arguments, "-q"]) != 0
    assert "Traceback" not in capsys.readouterr().err
