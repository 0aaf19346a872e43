"""Which networks are drawn: all styles first, then those where the model errs."""

from __future__ import annotations

from collections import Counter

from compressor.devices.latency.networks import STYLES
from compressor.profile_draw import draws, first_round, shares


def test_the_first_round_has_every_style_and_format() -> None:
    chosen = first_round(7)
    assert {each.style for each in chosen} == set(STYLES)
    assert {each.how for each in chosen} >= {"plain", "int8", "int4", "int2"}
    assert len({each.name for each in chosen}) == len(chosen)


def test_more_is_drawn_where_the_error_is_large_and_nothing_is_forgotten() -> None:
    errors = dict.fromkeys(shares(), 0.1)
    errors["dense", "int8"] = 5.0
    counts = Counter((each.style, each.how) for each in draws(errors, 4000, 1))
    even = Counter((each.style, each.how) for each in draws({}, 4000, 1))
    assert counts["dense", "int8"] > 3 * even["dense", "int8"]
    assert set(counts) == set(shares())


def test_the_same_seed_draws_the_same() -> None:
    assert draws({}, 20, 3) == draws({}, 20, 3)
    assert len({each.name for each in draws({}, 20, 3)}) == 20
