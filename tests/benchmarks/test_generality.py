"""The generality benchmark goes all the way, resumes, and tells a refusal from a failure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from generality import STAGES, lacking, merged  # found through the line above

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "benchmarks" / "generality.py"


def run(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--results", str(results), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)


@pytest.mark.slow
def test_an_architecture_goes_all_the_way_once(tmp_path: Path) -> None:
    done = run(tmp_path / "rows.json", "--only", "lenet", "torch-encoder-decoder")
    shown = r"lenet +✓✓[.✓]✓✓✓✓✓✓"  # the third is DepGraph, where it is installed
    assert re.search(shown, done.stdout), done.stdout + done.stderr
    rows = {row["name"]: row["stages"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert rows["lenet"]["verified"]["error"] < 2e-2
    refused = rows["torch-encoder-decoder"]["captured"]
    assert (refused["ok"], refused["refused"]) == (False, True)
    assert "control flow depends on data" in refused["reason"]
    assert done.returncode == 1  # half of two is no 95%
    assert "ran 0 of 1" in run(tmp_path / "rows.json", "--only", "lenet").stdout


def test_a_new_column_does_not_run_the_main_way_again() -> None:
    main = ("built", "captured", "halved", "depgraph", "folded", "int8", "lowered", "verified")
    row = {"name": "lenet", "stages": {stage: {"ok": True} for stage in main}, "seconds": 4.0}
    assert lacking(row, STAGES) == ("captured", "factorized", "depth-folded")
    assert lacking(None, STAGES) == lacking({"name": "lenet", "stages": {"built": {"ok": True}}}, STAGES) == STAGES
    both = merged(row, {"name": "lenet", "stages": {"factorized": {"ok": True}}, "seconds": 1.5})
    assert (set(both["stages"]), both["seconds"]) == ({*main, "factorized"}, 5.5)


def test_the_committed_table_meets_its_goals() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "generality.json").read_text())["rows"]
    assert len(rows) >= 80
    assert sum(row["stages"].get("verified", {}).get("ok", False) for row in rows) / len(rows) >= 0.95
    for row in rows:
        captured = row["stages"]["captured"]
        assert captured["ok"] or (captured["refused"] and captured["reason"]), row["name"]
