"""The per-layer table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.cli.main import run


def test_the_table_names_layers_and_roofs(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(digits / "model.pt"), "--target", "raspberry-pi-5"]) == 0
    shown = capsys.readouterr().out
    assert "uncalibrated" in shown
    assert "stem" in shown


def test_as_json(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(digits / "model.pt"), "--target", "raspberry-pi-5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_sensitivity_is_a_table_of_its_own(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["inspect", str(digits / "model.pt"), "--target", "raspberry-pi-5", "--sensitivity"]
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "raspberry-pi-5"
    assert {"layer", "format", "bytes_saved", "ms_saved", "error", "metric_drop"} <= set(found["layers"][0])
    assert run([*asked, "--groups"]) == 2


def test_ranks_are_a_table_of_their_own(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["inspect", str(digits / "model.pt"), "--target", "raspberry-pi-5", "--ranks"]
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"matrix", "rank", "bytes_saved", "ms_saved", "error", "metric_drop"} <= set(found["matrices"][0])
    assert run([*asked, "--sensitivity"]) == 2
