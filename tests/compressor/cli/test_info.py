"""Targets, passes and the doctor as a user sees them."""

from __future__ import annotations

import json

import pytest

from compressor.cli.main import run
from compressor.targets import target_names


def test_targets_are_listed_with_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in target_names())


def test_one_target_shows_every_number_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "jetson"]) == 0
    shown = capsys.readouterr().out
    for word in ("TensorrtExecutionProvider", "bandwidth", "data sheet", "width multiple"):
        assert word in shown


def test_a_target_shows_what_a_compiler_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "jetson-orin-nano"]) == 0
    told = "compiled (--runtime tvm) for aarch64-linux-gnu cortex-a78ae sm_87, in fp32; data sheet"
    assert told in capsys.readouterr().out
    assert run(["targets", "iphone"]) == 0
    assert "--runtime tvm" not in capsys.readouterr().out


def test_targets_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "web", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objective"] == "size"


def test_passes_show_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["passes"]) == 0
    shown = capsys.readouterr().out
    assert "fold:" in shown
    assert "calibrator" in shown
    assert run(["passes", "int8"]) == 0
    assert "main: quantize=" in capsys.readouterr().out
    assert run(["passes", "nothing"]) == 2


def test_the_doctor_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--target", "jetson", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any(finding["subject"].startswith("onnxruntime") for finding in found)
    assert run(["doctor"]) == 0
    assert "onnxruntime" in capsys.readouterr().out
