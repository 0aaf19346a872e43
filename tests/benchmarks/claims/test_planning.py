"""The checks of the planner's solvers: goals of arms that there are, and what the solvers are held against."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recovery import digits_program
from weighed import best_of_all, random_problem, weighed

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from claims import planning  # found through the line above

from compressor.plan.exact import Exact
from compressor.plan.planner import Planner


def subjects(name: str) -> Any:
    known = weighed()
    planner = Planner(known.swapper, known.places, known.measured)
    subject = SimpleNamespace(metric_name="accuracy", metric=lambda program: 1.0, program=digits_program())
    return subject, SimpleNamespace(program=known.program, context=known.context, planner=planner)


def test_goals_speak_of_arms_that_there_are() -> None:
    for claim in planning.planning_claims(subjects):
        names = {name.split(".")[0] for goal in claim.goals for name in (goal.better, goal.than)}
        assert {name for name in names if not name.isdigit()} == set(claim.arms)


def test_what_is_greedy_keeps_the_limit_and_the_exact_plan_is_no_worse() -> None:
    for seed in range(5):
        problem = random_problem(6, 3, seed, limits={"latency": 0.7})
        chosen = problem.solution(planning.greedy(problem))
        assert not chosen.overruns
        assert Exact().solve(problem)[0].objective <= chosen.objective + 1e-9


def test_uniform_plans_have_one_level_of_one_pass() -> None:
    _, known = subjects("digits")
    problem = known.planner.first.problem({"latency": 0.8 * known.planner.base.latency_ms}, {"damage": 1.0}, {})
    picks = planning.uniform(problem)
    changed = {site.name.partition(":")[0] for site, pick in zip(problem.sites, picks, strict=True) if pick}
    assert len(changed) == 1


def test_the_students_are_ten_thousand_and_the_best_is_found_within_the_bytes() -> None:
    problem = planning.student_space()
    assert problem.space == pytest.approx(10_000)
    best = best_of_all(problem)
    found = planning._students(0)
    assert 0.9 < found["share"] <= 1.0
    assert best.costs["size"] <= 3.0
