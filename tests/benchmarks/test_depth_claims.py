"""Every check of depth speaks of arms that it has, and committed figures belong to one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from claims import DEPTH  # noqa: E402  found through the line above


def test_goals_speak_of_arms_that_there_are() -> None:
    for claim in DEPTH.values():
        names = [name for goal in claim.goals for name in (goal.better, goal.than) if not name[0].isdigit()]
        assert {name.split(".")[0] for name in names} <= set(claim.arms), claim.name


def test_committed_cells_belong_to_an_arm() -> None:
    path = BENCHMARKS / "results" / "depth_claims.json"
    for key in json.loads(path.read_text())["cells"] if path.exists() else ():
        name, arm, *_ = key.split()
        assert arm in DEPTH[name].arms
