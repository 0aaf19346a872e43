"""The store of finished cells: nothing is run twice, nothing is begun late, and every cell is kept at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import cells as module  # found through the line above
from cells import Cells


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return tmp_path


def test_a_cell_is_kept_at_once_and_not_run_again(folder: Path) -> None:
    cells = Cells("one")
    assert cells.measure("a", lambda: {"value": 1.0})
    assert not cells.measure("a", lambda: {"value": 2.0})
    saved = json.loads((folder / "one.json").read_text())
    assert saved["cells"]["a"]["value"] == 1.0
    assert "torch" in saved["versions"]
    assert not Cells("one").measure("a", lambda: {"value": 3.0})
    assert [path.name for path in folder.iterdir()] == ["one.json"]


def test_again_replaces_the_cell() -> None:
    cells = Cells("one")
    cells.measure("a", lambda: {"failed": "so"})
    assert cells.measure("a", lambda: {"ms": 3.0, "seconds": 9.0}, again=True)
    assert cells["a"] == {"ms": 3.0, "seconds": 9.0}


def test_nothing_is_begun_when_the_budget_is_spent() -> None:
    cells = Cells("one", "0.001s")
    while not cells.over:
        pass
    assert not cells.measure("a", lambda: {"value": 1.0})
    assert len(cells) == 0
