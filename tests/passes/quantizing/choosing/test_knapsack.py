"""The knapsack finds what trying everything finds."""

from __future__ import annotations

import itertools
import random

import pytest

from compressor.passes.quantizing.choosing.knapsack import Choice, choose


def brute(items: list[list[Choice]], budget: int) -> float | None:
    every = itertools.product(*items)
    fitting = [sum(c.damage for c in picks) for picks in every if sum(c.bytes for c in picks) <= budget]
    return min(fitting, default=None)


@pytest.mark.parametrize("seed", range(60))
def test_it_is_exact(seed: int) -> None:
    draw = random.Random(seed)
    items = [
        [Choice(draw.randint(1, 50), draw.random()) for _ in range(draw.randint(1, 5))]
        for _ in range(draw.randint(1, 5))
    ]
    budget = draw.randint(5, 200)
    best, picks = brute(items, budget), choose(items, budget)
    if best is None:
        assert picks is None
        return
    assert picks is not None
    chosen = [options[pick] for options, pick in zip(items, picks, strict=True)]
    assert sum(choice.bytes for choice in chosen) <= budget
    assert sum(choice.damage for choice in chosen) == pytest.approx(best)


def test_more_damage_never_buys_more_bytes() -> None:
    items = [[Choice(8, 0.0), Choice(4, 0.0), Choice(4, 0.5)]] * 3
    assert choose(items, 100) == [1, 1, 1]


def test_a_hundred_layers_within_a_tight_budget() -> None:
    draw = random.Random(0)
    items = []
    for _ in range(100):
        weights, matters = draw.randint(10**4, 10**6), draw.random()
        items.append([Choice(int(weights * bits / 8), matters * 4.0**-bits) for bits in (32.0, 8.0, 4.25, 2.25)])
    budget = sum(options[2].bytes for options in items)
    picks = choose(items, budget)
    assert picks is not None
    assert sum(options[pick].bytes for options, pick in zip(items, picks, strict=True)) <= budget
    mixed = sum(options[pick].damage for options, pick in zip(items, picks, strict=True))
    assert mixed < 0.9 * sum(options[2].damage for options in items)
