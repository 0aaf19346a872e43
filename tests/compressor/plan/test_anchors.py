"""A few plans, built, tell how far the tables are off."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board
from weighed import weighed

from compressor.plan.anchors import Trust, anchors, trust
from compressor.plan.planner import Planner
from compressor.plan.swap import Swapper
from compressor.targets import Figure


@pytest.fixture(scope="module")
def planner() -> Planner:
    known = weighed()
    return Planner(known.swapper, known.places, known.measured)


def test_what_is_thought_lies_within_the_interval_of_what_is_built(planner: Planner) -> None:
    found = trust(planner, 0.5)
    problem = planner.weighed.problem({}, {}, {})
    plans = anchors(planner, 0.5)
    assert len(plans) >= 3
    assert set(found.spread) == {"latency", "size", "damage"}
    assert 1 <= found.spread["latency"] < 1.5
    for picks in plans:
        built = planner.built(problem, problem.solution(picks))
        thought = found.costs(built.solution.costs)
        for axis, factor in found.spread.items():
            assert 1 / factor <= built.costs[axis] / thought[axis] * (1 + 1e-9) <= factor * (1 + 2e-9)


def test_another_board_has_the_same_anchors_and_builds_nothing(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = weighed()
    trust(planner, 0.5)
    slow = replace(known.context, target=board(bandwidth=Figure(1e8, "test")))
    swapper = Swapper(known.program, slow, known.swapper.shelf)
    monkeypatch.setattr(swapper, "judge", None)
    monkeypatch.setattr("compressor.plan.whole.realize", None)  # it would be called
    monkeypatch.setattr("compressor.plan.anchors.choose_solver", None)
    there = Planner(swapper, known.places, known.measured.survey.on(slow))
    assert anchors(there, 0.5) == anchors(planner, 0.5)
    assert trust(there, 0.5).base["latency"] > 1.5 * planner.base.latency_ms


def test_costs_are_scaled_from_the_original_on() -> None:
    found = Trust({"latency": 4.0}, {"latency": 0.5, "damage": 2.0}, {"latency": 1.1})
    assert found.costs({"latency": 1.0, "damage": 0.1, "size": 7.0}) == {"latency": 2.0, "damage": 0.2, "size": 7.0}
    assert found.told() == "latency ±10% where a plan was not built"
    assert Trust({}, {}, {}).told() == "no plan was built"


def test_without_sites_there_is_nothing_to_trust() -> None:
    known = weighed()
    nothing = Planner(known.swapper, [], known.swapper.measure([]))
    assert trust(nothing, 0.5).factors == {}
