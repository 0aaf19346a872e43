"""From limits to the plan that keeps them, on a trained network."""

from __future__ import annotations

from functools import partial

import pytest
from weighed import weighed

from compressor.devices.latency.calibration import KINDS, Calibrated, Calibration
from compressor.graph.cost import Roofline
from compressor.plan import solvers
from compressor.plan.clock import Clock
from compressor.plan.evolution import Evolutionary
from compressor.plan.exact import Exact
from compressor.plan.parts import parts_of
from compressor.plan.planner import Planner, Wish
from compressor.plan.probe import MILD, SEVERE
from compressor.plan.realize import realize
from compressor.plan.swap import Swapper


@pytest.fixture(scope="module")
def planner() -> Planner:
    known = weighed()
    return Planner(known.swapper, known.places, known.measured)


@pytest.mark.parametrize("share", [0.6, 0.35])
def test_a_budget_of_time_holds_for_the_program_that_is_built(planner: Planner, share: float) -> None:
    limit = share * planner.base.latency_ms
    plan = planner.plan(Wish({"latency": limit}))
    assert not plan.best.overruns
    assert plan.best.parts.latency_ms <= limit * 1.000001
    known = weighed()
    built = realize(plan.tables, plan.best.solution.picks, known.program, known.context).program
    assert parts_of(built, known.context).latency_ms == pytest.approx(plan.best.parts.latency_ms)


def test_a_wider_budget_does_no_more_damage(planner: Planner) -> None:
    """But for what a few rounds, each corrected by what was built, leave to chance; bytes count for nothing."""
    severe, middle, mild = (
        planner.plan(Wish({"latency": share * planner.base.latency_ms}, axes=("latency",))).best.damage
        for share in (0.3, 0.5, 0.9)
    )
    assert 1.01 * severe >= middle
    assert 1.01 * middle >= mild
    assert severe > mild


def test_damage_is_weighed_by_what_was_probed_of_cuts_as_deep(planner: Planner) -> None:
    shares = []
    for share in (0.9, 0.2):
        planner.plan(Wish({"latency": share * planner.base.latency_ms}))
        shares.append(planner.share)
        added = {name: probed.added(planner.share) for name, probed in planner.probes.items()}
        said = planner.plain.weighed(added).problem({}, {}, {})
        picks = tuple(len(site.options) - 1 for site in planner.first.sites)
        assert planner.first.problem({}, {}, {}).costs(picks) == pytest.approx(said.costs(picks))
    assert MILD >= shares[0] > shares[1] >= SEVERE


def test_several_budgets_hold_together(planner: Planner) -> None:
    base = planner.base
    limits = {"latency": 0.5 * base.latency_ms, "size": 0.2 * base.bytes, "memory": 0.6 * base.memory}
    best = planner.plan(Wish(limits)).best  # type: ignore[arg-type]
    assert not best.overruns
    assert best.parts.bytes <= limits["size"]
    assert best.parts.memory <= limits["memory"]


def test_what_cannot_be_ends_with_the_closest_plan_and_by_how_much(planner: Planner) -> None:
    plan = planner.plan(Wish({"latency": 0.01 * planner.base.latency_ms, "damage": 0.5}))
    assert set(plan.best.overruns) == {"latency"}
    assert plan.best.overruns["latency"] > 1
    assert plan.best.parts.latency_ms < 0.6 * planner.base.latency_ms
    assert plan.best.damage <= 0.5 * 1.000001


def test_evolution_builds_what_it_chooses_from_and_starts_where_the_tables_say(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "Evolutionary", partial(Evolutionary, rounds=3, each=4))
    wish = Wish({"latency": 0.5 * planner.base.latency_ms}, "evolution")
    plan = planner.plan(wish)
    assert (plan.solver, plan.reason) == ("evolution", "plans are measured as wholes")
    assert 9 <= len(plan.built) <= 13
    assert plan.best in plan.built
    assert not plan.best.overruns
    by_tables = Exact().solve(planner.problem(wish))[0].picks
    assert plan.built[0].solution.picks == by_tables
    assert plan.best.rank == min(each.rank for each in plan.built)


def test_another_latency_model_prices_everything_anew_and_measures_nothing() -> None:
    known = weighed()
    fresh = Planner(known.swapper, known.places, known.measured)
    dear = Calibrated(Roofline(), Calibration("", dict.fromkeys(KINDS, 3.0), 0.1), "a test")
    swapper = Swapper(known.program, known.context, known.swapper.shelf)
    other = Planner(swapper, known.places, known.measured)
    other.priced_by(dear)
    assert other.base.latency_ms == pytest.approx(3 * fresh.base.latency_ms)
    picks = tuple(min(1, len(site.options) - 1) for site in other.tables.sites)
    before, after = (each.tables.problem({}, {}, {}).costs(picks) for each in (fresh, other))
    assert after["latency"] == pytest.approx(3 * before["latency"])
    assert after["damage"] == pytest.approx(before["damage"])
    assert other.probes == fresh.probes


@pytest.mark.parametrize("solver", ["auto", "evolution"])
def test_when_the_time_is_over_one_plan_is_built(solver: str) -> None:
    known = weighed()
    hasty = Swapper(known.program, known.context, known.swapper.shelf, Clock(0.0))
    planner = Planner(hasty, known.places, hasty.measure(known.places))
    assert not planner.unprobed, "what an earlier run kept costs no time"
    plan = planner.plan(Wish({"latency": 0.5 * planner.base.latency_ms}, solver))
    assert plan.built == (plan.best,)
    assert any(plan.best.solution.picks)


@pytest.mark.parametrize("solver", ["auto", "evolution"])
def test_where_nothing_was_weighed_the_original_is_the_closest_plan(solver: str) -> None:
    known = weighed()
    nothing = Planner(known.swapper, [], known.swapper.measure([]))
    plan = nothing.plan(Wish({"size": 0.5 * nothing.base.bytes}, solver))
    assert plan.best.specs == ()
    assert plan.best.overruns == {"size": pytest.approx(1.0)}
