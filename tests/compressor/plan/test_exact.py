"""The mixed-integer program: the best of all plans, by proof."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from weighed import best_of_all, random_problem

from compressor.plan.exact import ROUGH, Exact
from compressor.plan.problem import Problem, Site, Term


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pairs", [0, 4])
def test_the_same_optimum_as_trying_every_plan(seed: int, pairs: int) -> None:
    problem = random_problem(6, 4, seed, pairs)
    best = best_of_all(problem)
    [found] = Exact().solve(problem)
    assert found.objective == pytest.approx(best.objective, rel=1e-5)
    assert found.rank[0] == pytest.approx(best.rank[0], abs=1e-5)
    assert found.proven


def test_terms_of_three_sites() -> None:
    random = np.random.default_rng(3)
    sites = tuple(Site(f"s{n}", ("a", "b", "c")) for n in range(4))
    terms = (
        Term("latency", (0, 1, 2), random.uniform(0, 1, (3, 3, 3))),
        Term("latency", (1, 2, 3), random.uniform(0, 1, (3, 3, 3))),
        *(Term("damage", (n,), random.uniform(0, 1, 3)) for n in range(4)),
    )
    problem = Problem(sites, terms, {"latency": 0.5})
    assert Exact().solve(problem)[0].objective == pytest.approx(best_of_all(problem).objective)


def test_runners_up_differ_in_as_many_sites_as_asked() -> None:
    problem = random_problem(8, 3, seed=2)
    found = Exact().solve(problem, count=4, apart=3)
    assert len(found) == 4
    assert [each.objective for each in found] == sorted(each.objective for each in found)
    for one, other in itertools.combinations(found, 2):
        assert sum(a != b for a, b in zip(one.picks, other.picks, strict=True)) >= 3


def test_a_budget_that_cannot_be_met_gives_the_closest_plan() -> None:
    problem = random_problem(6, 4, seed=0, limits={"latency": 0.01})
    [found] = Exact().solve(problem, count=3)
    best = best_of_all(problem)
    assert found.overruns["latency"] == pytest.approx(best.overruns["latency"], rel=1e-4)
    assert found.objective <= best.objective * 1.001


def test_a_limit_of_damage_is_kept_when_others_cannot_be() -> None:
    problem = random_problem(6, 4, seed=0, limits={"latency": 0.01})
    bounded = Problem(problem.sites, problem.terms, {**problem.limits, "damage": 0.5})
    [found] = Exact().solve(bounded)
    assert found.costs["damage"] <= 0.5 + 1e-6
    assert set(found.overruns) == {"latency"}
    assert found.costs["latency"] == pytest.approx(best_of_all(bounded).costs["latency"], rel=1e-4)


def test_nothing_is_printed_where_results_go(capfd: pytest.CaptureFixture[str]) -> None:
    Exact().solve(random_problem(30, 8, seed=5, pairs=20))
    assert capfd.readouterr().out == ""


def test_a_rough_plan_is_nearly_the_best() -> None:
    for seed in range(4):
        problem = random_problem(8, 5, seed, 6)
        [best], [rough] = Exact().solve(problem), Exact(gap=ROUGH).solve(problem)
        assert best.objective <= rough.objective * (1 + 1e-6)
        assert rough.objective <= best.objective * (1 + 2 * ROUGH)
