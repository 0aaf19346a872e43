"""The check of ternary training: its goals speak of arms, and its arithmetic holds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import bitnet_training


def test_goals_speak_of_arms_that_there_are() -> None:
    claim = bitnet_training.claims(5)
    names = [name for goal in claim.goals for name in (goal.better, goal.than) if not name[0].isdigit()]
    assert {name.split(".")[0] for name in names} == set(claim.arms)


def test_codes_and_integer_sums_are_exact_and_gaussian_weights_are_as_published() -> None:
    figures = bitnet_training.arithmetic(0)
    assert figures["exact"] == 1
    assert figures["zeros_off"] < 0.005
    assert 1.57 < figures["entropy"] < figures["base3"] < 1.61
