"""The gradient solver's check: its arms, and that nothing but widths is chosen."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recovery import digits_program
from weighed import weighed

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from claims import surrogate  # found through the line above
from weighing import Weighed

from compressor.plan.planner import Planner


def subjects(name: str) -> Any:
    known = weighed()
    planner = Planner(known.swapper, known.places, known.measured)
    subject = SimpleNamespace(metric_name="accuracy", metric=lambda program: 1.0, program=digits_program())
    return subject, Weighed(known.program, known.context, planner)


def test_goals_speak_of_arms_that_there_are() -> None:
    claim = surrogate.surrogate_claim(subjects)
    names = {name.split(".")[0] for goal in claim.goals for name in (goal.better, goal.than)}
    assert {name for name in names if not name.isdigit()} == set(claim.arms)


def test_both_arms_have_as_many_multiply_accumulates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "_trained", lambda subject, known, program, seed: 1.0)
    _, known = subjects("digits")
    assert {place.means.name for place in surrogate.widths_alone(known).planner.places} == {"prune"}
    found = surrogate._gradient(subjects, "digits", 0)
    assert found["off"] == pytest.approx(surrogate.WITHIN - abs(found["share"] - 1))
    assert surrogate._uniform(subjects, "digits", 0)["macs"] == pytest.approx(1.0, abs=0.15)
