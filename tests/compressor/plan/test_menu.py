"""What every pass offers, few levels each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boards import board
from weighed import weighed

from compressor.cache import Cache, Shelf
from compressor.passes.drop import Drop
from compressor.passes.factorize import Factorize
from compressor.passes.linearize import Linearize
from compressor.plan import menu
from compressor.plan.menu import collect
from compressor.targets import Figure


def test_passes_stand_in_the_order_in_which_they_run() -> None:
    places = weighed().places
    orders = [place.means.order for place in places]
    assert orders == sorted(orders)
    assert {place.means.name for place in places} >= {"prune", "factorize", "quantize"}
    assert len({place.name for place in places}) == len(places)


def test_levels_are_few_and_each_leaves_something_else() -> None:
    for place in weighed().places:
        levels = [option.level for option in place.options]
        assert 1 <= len(levels) <= 4
        assert len(set(levels)) == len(levels)
        assert all(levels)
    [pruned] = [place for place in weighed().places if place.name == "prune:second.inner.0"]
    sizes = [option.bytes for option in pruned.options]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)


def test_wishes_hold_whatever_ran_before() -> None:
    [bits] = [place for place in weighed().places if place.name == "quantize:stem.0"]
    wanted = {option.level: bits.setting(number) for number, option in enumerate(bits.options)}
    assert wanted["int8"] == {"format": "int8", "activation": "auto"}
    [rank] = [place for place in weighed().places if place.name == "factorize:second.inner.0"]
    assert all("share" in rank.setting(number) for number in range(len(rank.options)))


def test_what_the_user_keeps_is_not_offered() -> None:
    known = weighed()
    places = collect(known.program, known.context, {"latency"}, keep=("second.*",))
    assert places
    assert not [place for place in places if place.site.startswith("second.")]


def test_the_list_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, shelf = weighed(), Shelf(Cache(tmp_path), "test")
    first = collect(known.program, known.context, {"latency"}, shelf=shelf)
    monkeypatch.setattr(menu, "_offered", None)  # it would be called
    assert collect(known.program, known.context, {"latency"}, shelf=shelf) == first
    slow = replace(known.context, target=board(name="slow", bandwidth=Figure(1e7, "test")))
    assert collect(known.program, slow, {"latency"}, shelf=shelf) == first


def test_another_width_multiple_offers_other_widths() -> None:
    known = weighed()
    wide = replace(known.context, target=board(width_multiple=16))
    [here], [there] = (
        [place for place in collect(known.program, context, {"latency"}) if place.name == "prune:second.inner.0"]
        for context in (known.context, wide)
    )
    assert here.options != there.options


def test_what_is_weighed_later_says_nothing_of_its_cost() -> None:
    known = weighed()
    bare = replace(known.context, latency=None, unweighed=True)
    for kind in (Drop, Factorize, Linearize):
        [means] = kind.planned(known.context, {"latency"})
        full = {(o.site, o.level) for o in means.options(known.program, known.context)}
        options = list(means.options(known.program, bare))
        assert all(option.damage is None and option.latency_ms is None for option in options)
        assert {(option.site, option.level) for option in options} >= full
