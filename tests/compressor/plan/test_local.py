"""Single changes until none helps."""

from __future__ import annotations

from weighed import random_problem

from compressor.plan.local import improved


def test_no_single_change_helps_any_more() -> None:
    problem = random_problem(8, 4, seed=3, pairs=4)
    start = (3,) * 8
    found = improved(problem, start)
    rank = problem.solution(found).rank
    assert rank < problem.solution(start).rank
    for site in range(8):
        for option in range(4):
            other = (*found[:site], option, *found[site + 1 :])
            assert problem.solution(other).rank >= rank


def test_what_breaks_a_budget_is_mended_first() -> None:
    problem = random_problem(8, 4, seed=3)
    assert problem.solution((0,) * 8).overruns
    assert not problem.solution(improved(problem, (0,) * 8)).overruns
