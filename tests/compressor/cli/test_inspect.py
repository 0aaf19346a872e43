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
