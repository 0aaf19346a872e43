"""Every check of the works-when benchmark speaks of arms that it has, and its committed figures are judged anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from claims import CLAIMS, Claim, Goal  # noqa: E402  found through the line above
from works_when import report  # noqa: E402


def test_goals_speak_of_arms_that_there_are() -> None:
    for claim in CLAIMS.values():
        names = [name for goal in claim.goals for name in (goal.better, goal.than) if not name[0].isdigit()]
        assert names
        assert {name.split(".")[0] for name in names} <= set(claim.arms), claim.name


def test_the_methods_of_the_issue_are_there() -> None:
    assert set(CLAIMS) == {
        "llm-pruner", "minitron", "otov2", "slimsam", "efficientllm", "sheared-llama", "hinton", "ofa-kd",
        "distilcamembert", "wanda", "qmoe", "tinysam",
    }  # fmt: skip


def test_committed_cells_belong_to_an_arm() -> None:
    path = BENCHMARKS / "results" / "works_when.json"
    for key in json.loads(path.read_text())["cells"] if path.exists() else ():
        name, arm, *_ = key.split()
        assert arm in CLAIMS[name].arms


def test_a_figure_may_be_named_with_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    goal = Goal("half is no worse", "one.damage_0.5", "other.damage_0.5", "ratio", 1.0)
    claim = Claim("claim", "it works", {"one": lambda _: {}, "other": lambda _: {}}, [goal])
    cells = {"claim one seed 0": {"damage_0.5": 0.9}, "claim other seed 0": {"damage_0.5": 1.0}}
    assert report(claim, cells, 1)
    assert "0.9000" in capsys.readouterr().out
