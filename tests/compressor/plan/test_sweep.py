"""Plans of weighted sums."""

from __future__ import annotations

import pytest
from weighed import weighed

from compressor.plan.exact import Exact
from compressor.plan.problem import Axis, Problem
from compressor.plan.sweep import sweep
from compressor.plan.tables import build

MOST = 0.5


def _problem(limits: dict[Axis, float]) -> Problem:
    known = weighed()
    return build(known.places, known.measured).problem({"damage": MOST, **limits}, {"damage": 1.0}, {})


@pytest.mark.parametrize("axis", ["latency", "size"])
def test_plans_are_near_the_best_for_any_budget(axis: Axis) -> None:
    free = _problem({})
    units = free.costs((0,) * len(free.sites))
    found = sweep(free, axis, units)
    assert len({each.picks for each in found}) == len(found) > 4
    assert all(each.costs["damage"] <= MOST for each in found)
    for share in (0.8, 0.6, 0.4):
        limit = share * units[axis]
        [best] = Exact().solve(_problem({axis: limit}))
        near = min(each.costs["damage"] for each in found if each.costs[axis] <= 1.02 * limit)
        assert near <= 1.5 * best.costs["damage"] + 1e-3


def test_what_pays_beside_its_like_alone_is_found() -> None:
    free = _problem({})
    units = free.costs((0,) * len(free.sites))
    names = [site.name for site in free.sites]
    taken = [sum(map(bool, (p for p, n in zip(each.picks, names, strict=True) if n.startswith("quantize:"))))
             for each in sweep(free, "latency", units)]  # fmt: skip
    assert max(taken) > 1
