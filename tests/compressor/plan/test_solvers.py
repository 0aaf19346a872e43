"""Which solver takes a problem, and why."""

from __future__ import annotations

import numpy as np
import pytest
from weighed import random_problem

from compressor.errors import InputError
from compressor.plan import solvers
from compressor.plan.problem import Problem, Term
from compressor.plan.solvers import choose_solver


def test_the_size_of_the_space_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(6, 3, seed=0, pairs=2)
    chosen = choose_solver(problem)
    assert chosen.name == "exact"
    assert "729 plans in 36 numbers" in chosen.reason
    monkeypatch.setattr(solvers, "ENTRIES", 30)
    assert choose_solver(problem).name == "gradient"
    assert choose_solver(problem, measure=lambda picks: {}).name == "evolution"


@pytest.mark.parametrize("name", ["exact", "evolution", "gradient"])
def test_each_answers_the_same_question(name: str) -> None:
    problem = random_problem(6, 3, seed=0)
    found = choose_solver(problem, name).solver.solve(problem)[0]
    assert not found.overruns
    assert found.objective == pytest.approx(problem.objective(problem.costs(found.picks)))


def test_another_name_is_refused() -> None:
    with pytest.raises(InputError, match="Did you mean exact"):
        choose_solver(random_problem(2, 2, seed=0), "exakt")


@pytest.mark.parametrize("name", ["auto", "exact", "evolution", "gradient"])
@pytest.mark.parametrize("limit", [1.0, 4.0])
def test_without_sites_there_is_one_plan(name: str, limit: float) -> None:
    problem = Problem((), (Term("size", (), np.array(2.0)),), {"size": limit}, {"size": 1.0})
    (found,) = choose_solver(problem, name).solver.solve(problem, count=3)
    assert found.picks == ()
    assert found.overruns == ({"size": 1.0} if limit < 2 else {})
    assert found.proven
