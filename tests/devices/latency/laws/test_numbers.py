"""Bounded features and growing terms."""

from __future__ import annotations

import math

import pytest

from compressor.devices.latency.laws.numbers import USUAL, Core, capped, ceil_to, moved, past, share_cold


def test_a_feature_is_bounded_at_both_ends() -> None:
    assert capped(0.1, 128) == 0.0
    assert capped(64, 128) == pytest.approx(math.log(64))
    assert capped(4096, 128) == capped(128, 128)


def test_bytes_cost_more_the_farther_they_lie() -> None:
    near, far = sum(moved("x", 10e3, USUAL).values()), sum(moved("x", 100e6, USUAL).values())
    assert far / 100e6 > 3 * near / 10e3
    assert moved("x", 10e3, USUAL)["x past L1"] == 0.0


def test_terms_of_bytes_never_fall() -> None:
    for small, large in ((1e3, 40e3), (40e3, 1e6), (1e6, 50e6)):
        before, after = moved("x", small, USUAL), moved("x", large, USUAL)
        assert all(after[name] >= before[name] for name in before)


def test_a_network_that_fits_stays_in_the_cache() -> None:
    assert share_cold(0, 8e6) == share_cold(1e6, 8e6) == 0.0
    assert share_cold(16e6, 8e6) == pytest.approx(0.5)


def test_ceil_to() -> None:
    assert (ceil_to(1, 8), ceil_to(8, 8), ceil_to(9, 8)) == (8, 8, 16)


def test_what_leaves_a_cache_is_by_the_caches_of_the_core() -> None:
    small = Core(caches=(16e3, 128e3, 1e6))
    assert moved("x", 24e3, small)["x past L1"] > moved("x", 24e3, USUAL)["x past L1"] == 0.0
    assert past(256e3, small.caches[1]) > past(256e3, USUAL.caches[1]) == 0.0
    assert small.kept < small.caches[2]
