"""Sizes as people use them and as compression leaves them."""

from __future__ import annotations

from compressor.devices.latency.networks.draw import Draw


def test_widths_of_one_network_are_of_one_kind() -> None:
    for seed in range(20):
        draw = Draw(seed)
        assert all(draw.width(16, 300) % draw.multiple == 0 for _ in range(20))
    assert {1, 8} <= {Draw(seed).multiple for seed in range(50)}, "odd widths too, as pruning leaves them"


def test_narrow_maps_are_large() -> None:
    draw = Draw(1)
    narrow, wide = (sorted(draw.side(width) for _ in range(99))[49] for width in (16, 512))
    assert narrow > 4 * wide
    assert min(draw.side(2000) for _ in range(50)) >= 3


def test_the_same_seed_draws_the_same() -> None:
    assert [Draw(3).width(1, 500) for _ in range(3)] == [Draw(3).width(1, 500) for _ in range(3)]
