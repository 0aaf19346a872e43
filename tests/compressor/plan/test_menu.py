"""What every pass offers, few levels each."""

from __future__ import annotations

from weighed import weighed

from compressor.plan.menu import collect


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
    assert [option.level for option in pruned.options] == ["−25%", "−50%", "−75%"]


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


def test_bytes_ask_for_fewer_bits() -> None:
    known = weighed()
    levels = {
        option.level
        for place in collect(known.program, known.context, {"size"})
        if place.means.name == "quantize"
        for option in place.options
    }
    assert any("int4" in level for level in levels)
    assert not any("int4" in o.level for place in known.places for o in place.options)
