"""What a plan costs, by tables."""

from __future__ import annotations

import numpy as np
import pytest
from weighed import random_problem

from compressor.plan.problem import AXES, Problem, Site, Term, passed

TWO = (Site("a", ("as it is", "half")), Site("b", ("as it is", "half", "none")))


def test_terms_of_several_sites_add_up() -> None:
    terms = (
        Term("latency", (0,), np.array([2.0, 1.0])),
        Term("latency", (0, 1), np.array([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0]])),
        Term("latency", (), np.array(0.5)),
        Term("damage", (1,), np.array([0.0, 0.1, 0.4])),
    )
    problem = Problem(TWO, terms, {"latency": 3.0}, units={"damage": 0.1})
    assert problem.costs((1, 1)) == {"latency": 2.5, "damage": 0.1}
    assert problem.solution((1, 1)).objective == pytest.approx(1.0)
    assert problem.solution((1, 1)).overruns == {}
    assert problem.solution((0, 0)).overruns == {"latency": pytest.approx(6.5 / 3 - 1)}
    assert problem.space == pytest.approx(6)


def test_many_plans_at_once_cost_what_each_costs() -> None:
    problem = random_problem(5, 3, seed=1, pairs=3)
    plans = np.random.default_rng(0).integers(0, 3, (20, 5))
    costs = problem.costs_of(plans)
    for row, plan in zip(costs, plans.tolist(), strict=True):
        alone = problem.costs(plan)
        assert row == pytest.approx([alone.get(axis, 0.0) for axis in AXES])


def test_a_table_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="for options"):
        Problem(TWO, (Term("latency", (0, 1), np.zeros((3, 2))),))
    with pytest.raises(ValueError, match="no number"):
        Problem(TWO, (Term("latency", (0,), np.array([0.0, np.nan])),))


def test_damage_over_its_limit_comes_first() -> None:
    assert passed({"damage": 0.01}) > passed({"latency": 5.0})
    assert passed({}) == 0
