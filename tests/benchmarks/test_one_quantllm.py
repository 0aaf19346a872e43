"""One QuantLLM's check: its goals speak of arms, and of figures that there are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import one_quantllm


def test_goals_speak_of_arms_that_there_are() -> None:
    claim = one_quantllm.claims(4)
    names = [name for goal in claim.goals for name in (goal.better, goal.than)]
    assert {name.split(".")[0] for name in names} == set(claim.arms)
    assert {name.split(".")[1] for name in names} <= {"perplexity", "two", *one_quantllm.BUDGETS}


def test_one_training_takes_half_the_steps_of_three() -> None:
    assert "600 steps of" in one_quantllm.claims(400).says
