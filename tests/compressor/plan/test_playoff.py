"""Passes that a plan is better without are barred."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.plan import playoff
from compressor.plan.clock import Clock
from compressor.plan.planner import Built, Planner, Wish
from compressor.plan.playoff import played_off
from compressor.plan.swap import Swapper

BITS = frozenset({"quantize"})  # or nothing else is needed


def _planner(clock: Clock | None = None) -> Planner:
    known = weighed()
    swapper = Swapper(known.program, known.context, known.swapper.shelf, clock or Clock())
    return Planner(swapper, known.places, known.measured, barred=BITS)


def _wish(planner: Planner) -> Wish:
    return Wish({"latency": 0.45 * planner.base.latency_ms})


def _names(built: Built) -> set[str]:
    return {spec.name for spec in built.specs}


def _judged(harm: dict[str, float]) -> object:
    """What a plan's structure is said to do after training: a little, and what each of its passes adds."""
    return lambda planner, built: 0.01 + math.fsum(harm.get(name, 0.0) for name in _names(built))


def test_a_pass_that_heals_badly_is_barred_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = _planner()
    wish = _wish(planner)
    assert {"prune", "factorize"} <= _names(planner.plan(wish).best)
    monkeypatch.setattr(playoff, "_trained", _judged({"factorize": 1.0}))
    plan = played_off(planner, wish)
    assert planner.barred == {"quantize", "factorize"}
    assert "factorize" not in _names(plan.best)
    assert playoff._broken(plan.best) <= playoff.OVER
    assert "factorize" not in _names(planner.plan(wish).best)


def test_where_nothing_gains_all_passes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = _planner()
    before = planner.plan(_wish(planner)).best
    monkeypatch.setattr(playoff, "_trained", _judged({}))
    plan = played_off(planner, _wish(planner))
    assert planner.barred == BITS
    assert _names(plan.best) == _names(before)


def test_what_breaks_a_budget_does_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = _planner()
    wish = Wish({"latency": 0.3 * planner.base.latency_ms})
    monkeypatch.setattr(playoff, "_trained", _judged({"prune": 9.0, "factorize": 1.0}))
    whole = planner.plan(wish).best
    plan = played_off(planner, wish)
    assert playoff._broken(plan.best) <= max(playoff._broken(whole), playoff.OVER)


def test_trained_damage_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = _planner()
    built = planner.plan(_wish(planner)).best
    planner.swapper.shelf = Shelf(Cache(tmp_path), "test")
    found = playoff._trained(planner, built)
    assert 0 < found < 3 * built.raw
    monkeypatch.setattr(playoff, "trained_damage", None)  # it would be called
    assert playoff._trained(planner, built) == found


def test_without_the_time_or_anything_to_train_on_nothing_is_played() -> None:
    hasty = _planner(Clock(0.0))
    assert played_off(hasty, _wish(hasty)).best.specs
    assert hasty.barred == BITS
    known = weighed()
    blind = Swapper(known.program, replace(known.context, training=()), known.swapper.shelf)
    planner = Planner(blind, known.places, known.measured, barred=BITS)
    assert played_off(planner, _wish(planner)).best.specs
    assert planner.barred == BITS
