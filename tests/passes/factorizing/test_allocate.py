"""Ranks for a total: the cheapest steps first, never one that costs more, and as good as trying all."""

from __future__ import annotations

import itertools
import random

from compressor.passes.factorizing.allocate import Rung, allocate


def test_the_least_damage_per_cost_goes_first() -> None:
    ladders = {
        "a": [Rung(0, 4.0, 100, 0.0), Rung(8, 3.0, 80, 0.1), Rung(4, 2.0, 40, 0.9)],
        "b": [Rung(0, 4.0, 100, 0.0), Rung(8, 2.0, 60, 0.1)],
    }
    assert {n: r.rank for n, r in allocate(ladders, 200).items()} == {"a": 0, "b": 0}
    assert {n: r.rank for n, r in allocate(ladders, 199).items()} == {"a": 0, "b": 8}
    assert {n: r.rank for n, r in allocate(ladders, 150).items()} == {"a": 8, "b": 8}
    assert {n: r.rank for n, r in allocate(ladders, 10).items()} == {"a": 4, "b": 8}


def test_what_is_slower_is_never_taken() -> None:
    ladders = {"a": [Rung(0, 1.0, 100, 0.0), Rung(8, 1.5, 50, 0.01), Rung(4, 1.0, 30, 0.02)]}
    assert allocate(ladders, 0)["a"].rank == 0


def test_it_is_the_best_for_its_cost() -> None:
    """Of all combinations that cost no more, none does less damage."""
    draw = random.Random(0)
    ladders = {}
    for name in "abc":
        cuts = sorted((draw.random() for _ in range(4)), reverse=True)
        rungs = [Rung(r, 1 + c, int(100 * c), (1 - c) ** 2 * draw.uniform(0.5, 1)) for r, c in enumerate(cuts, 1)]
        ladders[name] = [Rung(0, 2.0, 100, 0.0), *rungs]
    for target in (250, 180, 120):
        found = allocate(ladders, target)
        cost, damage = (sum(getattr(rung, what) for rung in found.values()) for what in ("cost", "damage"))
        others = [o for o in itertools.product(*ladders.values()) if sum(r.cost for r in o) <= cost + 1e-12]
        assert damage <= min(sum(r.damage for r in other) for other in others) + 1e-12
