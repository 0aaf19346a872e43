"""`compress calibrate` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor import calibrating
from compressor.cli.main import run
from compressor.devices.latency.calibration import KINDS, Calibration


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
    assert "within 11%" in shown


@pytest.mark.parametrize("arguments", [["--models", "2"], ["--target", "no"], ["--device", "no://where"]])
def test_bad_arguments_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", *arguments, "-q"]) != 0
    assert "Traceback" not in capsys.readouterr().err
