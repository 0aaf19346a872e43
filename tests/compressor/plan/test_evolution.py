"""NSGA-II on tables, and with a few measurements behind light predictors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from weighed import best_of_all, random_problem

from compressor.plan.evolution import Evolutionary, hypervolume, undominated
from compressor.plan.exact import Exact
from compressor.plan.problem import Axis, Picks, Solution


@pytest.mark.parametrize("seed", range(3))
def test_small_spaces_are_searched_to_the_best(seed: int) -> None:
    problem = random_problem(6, 4, seed, pairs=3)
    found = Evolutionary(seed=seed).solve(problem)[0]
    assert found.objective == pytest.approx(best_of_all(problem).objective, rel=0.02)
    assert not found.overruns


def test_the_front_has_nothing_that_is_dominated() -> None:
    problem = random_problem(12, 4, seed=4)
    front = Evolutionary().front(problem)
    costs = np.array([[each.costs[axis] for axis in problem.axes] for each in front])
    assert len(front) > 5
    for row in costs:
        others = costs[(costs != row).any(axis=1)]
        assert not ((others <= row).all(axis=1)).any()


def test_equal_plans_stand_once() -> None:
    one = Solution((0,), {"latency": 1.0, "damage": 0.0}, 0.0)
    same = Solution((1,), {"latency": 1.0, "damage": 0.0}, 0.0)
    worse = Solution((2,), {"latency": 2.0, "damage": 0.0}, 0.0)
    assert undominated([worse, one, same], ("latency", "damage")) == [one]


def test_hypervolume_of_known_points() -> None:
    points = np.array([[1.0, 3.0], [2.0, 1.0]])
    assert hypervolume(points, np.array([4.0, 4.0])) == pytest.approx(3 + 2 * 3 - 2)
    cube = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    assert hypervolume(cube, np.ones(3)) == pytest.approx(1.0)
    assert hypervolume(cube, np.zeros(3)) == 0.0


def test_measurements_lead_where_tables_mislead() -> None:
    """The truth has damage that the tables know nothing of: two sites that must not both be changed."""
    problem = random_problem(8, 3, seed=7)
    asked: list[Picks] = []

    def measure(picks: Picks) -> Mapping[Axis, float]:
        asked.append(picks)
        return {"damage": problem.costs(picks)["damage"] + 20.0 * (picks[0] == 2) + 20.0 * (picks[3] == 2)}

    found = Evolutionary(measure=measure, rounds=6, each=10).solve(problem)[0]
    assert len(asked) == len(set(asked)) <= 60
    blind = Exact().solve(problem)[0]
    assert found.costs["damage"] <= measure(blind.picks)["damage"]
    assert found.costs["damage"] == measure(found.picks)["damage"]
    assert not found.overruns


def test_when_the_time_is_over_what_was_measured_is_all() -> None:
    problem, asked = random_problem(8, 3, seed=7), list[Picks]()

    def measure(picks: Picks) -> Mapping[Axis, float]:
        asked.append(picks)
        return problem.costs(picks)

    found = Evolutionary(measure=measure, each=10, over=lambda: len(asked) >= 4).solve(problem, count=9)
    assert len(found) == len(asked) == 4
    asked.clear()
    assert len(Evolutionary(measure=measure, over=lambda: True).solve(problem, count=9)) == 1, "never nothing"


def test_the_seed_decides() -> None:
    problem = random_problem(20, 4, seed=1)
    assert Evolutionary(seed=3).solve(problem)[0] == Evolutionary(seed=3).solve(problem)[0]
