"""Masks under the ratio of norms."""

from __future__ import annotations

import pytest
import torch
from weighed import random_problem

from compressor.plan.exact import Exact
from compressor.plan.gradient import Gradient, kept


def test_the_ratio_counts_whatever_the_scale() -> None:
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0])
    assert float(kept(mask)) == pytest.approx(3.0)
    assert float(kept(-7.0 * mask)) == pytest.approx(3.0)
    assert float(kept(torch.ones(5))) == pytest.approx(5.0)


@pytest.mark.parametrize("seed", range(3))
def test_budgets_hold_and_the_best_is_near(seed: int) -> None:
    problem = random_problem(15, 5, seed, pairs=5)
    found = Gradient(steps=150, starts=2, seed=seed).solve(problem)[0]
    assert not found.overruns
    assert found.objective <= 1.6 * Exact().solve(problem)[0].objective


def test_several_plans_are_apart() -> None:
    found = Gradient(steps=60, starts=4).solve(random_problem(10, 4, seed=2), count=3, apart=2)
    assert len({each.picks for each in found}) == len(found) >= 1
