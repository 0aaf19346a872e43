"""Students of a size: what is counted is what they have, and the search finds the most work."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from claims import students  # found through the line above
from models.gpt import Gpt


def test_bytes_are_those_of_the_network() -> None:
    network = Gpt(48, 3, heads=3)  # its MLP is four times as wide
    assert students.bytes_of((3, 48, 192)) == sum(4 * p.numel() for p in network.parameters())


def test_the_extremes_have_as_many_bytes_and_other_work() -> None:
    most, least = students.extremes()
    every = [(a, b, c) for a in students.LAYERS for b in students.WIDTHS for c in students.INNER]
    within = [each for each in every if students.bytes_of(each) <= 1e6 * students.MEGABYTES]
    assert students.work_of(most) >= 0.99 * max(map(students.work_of, within))
    assert students.NEAR <= students.bytes_of(least) / students.bytes_of(most) <= 1
    assert students.work_of(least) < 0.9 * students.work_of(most)


def test_goals_speak_of_arms_that_there_are() -> None:
    claim = students.students_claim()
    assert {name.split(".")[0] for goal in claim.goals for name in (goal.better, goal.than)} == set(claim.arms)
