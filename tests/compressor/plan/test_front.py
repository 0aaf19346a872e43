"""Plans of which none is better in everything."""

from __future__ import annotations

import pytest
from weighed import weighed

from compressor.plan.exact import Exact
from compressor.plan.front import AXES, SHOWN, front
from compressor.plan.problem import Solution
from compressor.plan.tables import build


@pytest.fixture(scope="module")
def found() -> list[Solution]:
    known = weighed()
    return front(build(known.places, known.measured), Exact(), most=0.5)


def test_from_the_original_to_the_fastest(found: list[Solution]) -> None:
    assert 8 <= len(found) <= SHOWN
    assert not any(found[0].picks)
    times = [each.costs["latency"] for each in found[1:]]
    assert times == sorted(times, reverse=True)
    assert times[-1] < 0.4 * found[0].costs["latency"]
    assert all(each.costs["damage"] <= 0.5 for each in found)


def test_none_is_better_in_everything(found: list[Solution]) -> None:
    for one in found[1:]:
        for other in found[1:]:
            if one is not other:
                assert any(one.costs[axis] < other.costs[axis] for axis in AXES)


def test_without_time_to_weigh_anything_there_is_the_original() -> None:
    known = weighed()
    nothing = known.swapper.measure([])
    (only,) = front(build([], nothing), Exact(), most=0.5)
    assert only.costs["latency"] == pytest.approx(nothing.base.latency_ms)
