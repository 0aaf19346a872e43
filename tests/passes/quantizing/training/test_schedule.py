"""Formats drawn for steps: within their budget and near it, every budget alike often, the same for the same step."""

from __future__ import annotations

import torch

from compressor.passes.quantizing.training.schedule import Schedule, Site

SITES = tuple(Site(f"site{n}", weights, (weights // 4, weights // 2, weights)) for n, weights in enumerate([800] * 20))
SCHEDULE = Schedule(SITES, (2.4, 4.0, 7.5), seed=3)


def bits(picks: list[int]) -> float:
    return 8 * SCHEDULE.stored(picks) / sum(site.weights for site in SITES)


def picks_at(step: int) -> list[int]:
    return [int(value.argmax()) for value in SCHEDULE.at(step).values()]


def test_what_is_drawn_is_near_its_budget() -> None:
    for budget in SCHEDULE.budgets:
        drawn = [SCHEDULE.draw(budget, str(seed)) for seed in range(20)]
        assert all(budget - 0.2 < bits(picks) <= budget for picks in drawn)
        assert len({tuple(picks) for picks in drawn}) > 10
    assert SCHEDULE.draw(1.0, "0") == [0] * 20, "out of reach: the fewest"
    assert SCHEDULE.draw(9.0, "0") == [2] * 20


def test_every_budget_has_its_turn() -> None:
    for turn in range(5):
        found = sorted(bits(picks_at(3 * turn + place)) for place in range(3))
        assert all(budget - 0.2 < each <= budget for budget, each in zip(SCHEDULE.budgets, found, strict=True))
    assert len({tuple(round(bits(picks_at(3 * turn + place))) for place in range(3)) for turn in range(8)}) > 1


def test_a_step_is_the_same_each_time() -> None:
    again = Schedule(SITES, SCHEDULE.budgets, seed=3)
    for step in (0, 7):
        assert all(torch.equal(value, again.at(step)[name]) for name, value in SCHEDULE.at(step).items())
    assert picks_at(0) != picks_at(1)
    assert len(SCHEDULE.judged()) == 6
