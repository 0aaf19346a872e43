"""The loops of convolution kernels, counted."""

from __future__ import annotations

import pytest
from timed_networks import conv

from compressor.devices.latency.laws.convolutions import blocked, depthwise, integer, unblocked
from compressor.devices.latency.laws.geometry import Convolution, convolution_of
from compressor.devices.latency.laws.numbers import Context, Numbers


def numbers(law: object, *args: int, **more: object) -> Numbers:
    one = conv("c", "x", *args, **more)  # type: ignore[arg-type]
    shape = convolution_of(one)
    assert isinstance(shape, Convolution)
    return law(one, shape, Context(True))  # type: ignore[operator, no-any-return]


def test_multiplies_are_counted_without_the_padding() -> None:
    taps = 3 * 12 - 2  # of the kernel's rows or columns, over all positions
    assert numbers(blocked, 16, 48, 12).terms["macs"] * 40e3 == pytest.approx(48 * 16 * taps**2)


def test_filters_are_done_four_blocks_at_a_time_and_few_of_them_wait() -> None:
    four, two = (numbers(blocked, 16, filters, 12).terms for filters in (32, 16))
    assert four["macs"] == pytest.approx(2 * two["macs"])
    assert two["waits"] > four["waits"] > 0
    assert numbers(blocked, 16, 48, 12).terms["waits"] == pytest.approx(four["waits"] + two["waits"])


def test_channels_are_padded_to_a_block() -> None:
    assert numbers(blocked, 12, 32, 12).terms["macs"] == numbers(blocked, 16, 32, 12).terms["macs"]


def test_an_image_is_added_up_channel_by_channel() -> None:
    image, map_ = (numbers(blocked, channels, 32, 12).terms for channels in (3, 8))
    assert image["sums"] == pytest.approx(3 * map_["sums"])


def test_a_pointwise_convolution_writes_no_patches_and_shares_its_last_pixels() -> None:
    assert numbers(unblocked, 13, 7, 9, 1).terms["patches"] == 0
    assert numbers(unblocked, 13, 7, 9, 3).terms["patches"] * 2e3 == pytest.approx(13 * 9 * 81)
    assert numbers(blocked, 16, 32, 9, 1).terms["chunks"] < numbers(blocked, 16, 32, 9, 3).terms["chunks"]


def test_depthwise_costs_per_channel_and_tap() -> None:
    one, two = (numbers(depthwise, c, c, 9, 3, 1, c).terms for c in (13, 26))
    assert two["taps"] == pytest.approx(2 * one["taps"])
    assert two["channels"] == pytest.approx(2 * one["channels"])


def test_a_fused_clip_goes_over_the_result_again_and_a_relu_does_not() -> None:
    plain, relu, clip = (
        numbers(blocked, 16, 32, 12, fellows=fellows).terms for fellows in ((), ("relu",), ("hardtanh",))
    )
    assert relu == plain
    assert clip["clipped"] > plain["clipped"] == 0


def test_an_integer_convolution_copies_once_a_tap_and_group() -> None:
    one, four = (numbers(integer, 16, 16, 8, 3, 1, groups).terms for groups in (1, 4))
    assert four["gathered"] == pytest.approx(4 * one["gathered"])


def test_channels_of_bytes_fill_vectors_halves_and_single_lanes() -> None:
    terms = {channels: numbers(integer, channels, channels, 8, 3, 1, channels).terms for channels in (16, 24, 20)}
    assert [terms[16][name] > 0 for name in ("vectors", "half vectors", "single lanes")] == [True, False, False]
    assert [terms[24][name] > 0 for name in ("vectors", "half vectors", "single lanes")] == [True, True, False]
    assert [terms[20][name] > 0 for name in ("vectors", "half vectors", "single lanes")] == [True, False, True]


def test_rows_of_bytes_that_end_between_words_cost_more() -> None:
    even, odd = (numbers(integer, channels, 16, 8).terms for channels in (4, 3))
    assert odd["last bytes"] > even["last bytes"] == 0.0


@pytest.mark.parametrize("law", [blocked, unblocked, integer])
def test_terms_grow_with_channels_and_map(law: object) -> None:
    small = sum(numbers(law, 16, 32, 12).terms.values())
    assert sum(numbers(law, 32, 32, 12).terms.values()) > small
    assert sum(numbers(law, 16, 64, 12).terms.values()) > small
    assert sum(numbers(law, 16, 32, 18).terms.values()) > small
