"""What calls without products are priced by."""

from __future__ import annotations

import pytest
from timed_networks import call

from compressor.devices.latency.laws.movements import (
    average_pool_integer,
    contiguous,
    elementwise,
    global_pool,
    join_integer,
    layout,
    max_pool_integer,
    norm,
    other,
    pool,
    rounding,
)
from compressor.devices.latency.laws.numbers import Context

MAP = (1, 8, 6, 10)


@pytest.mark.parametrize(
    ("op", "arguments", "result", "run"),
    [
        ("permute", (None, (0, 2, 3, 1)), (1, 6, 10, 8), 1),
        ("permute", (None, (1, 0, 2, 3)), (8, 1, 6, 10), 60),
        ("transpose", (None, 1, 2), (1, 6, 8, 10), 10),
        ("transpose", (None, -1, -2), (1, 8, 10, 6), 1),
        ("cat", ((None, None), 1), (1, 16, 6, 10), 8 * 60),
        ("chunk", (None, 2, 1), (1, 4, 6, 10), 4 * 60),
        ("slice", (None, 3, 0, 5), (1, 8, 6, 5), 5),
    ],
)
def test_what_a_copy_moves_at_once(op: str, arguments: tuple[object, ...], result: tuple[int, ...], run: int) -> None:
    assert contiguous(call("l", op, "layout", result, ("x", MAP), arguments=arguments)) == run


def test_scattered_copies_are_dearer() -> None:
    one = call("l", "permute", "layout", (8, 1, 6, 10), ("x", MAP), arguments=(None, (1, 0, 2, 3)))
    two = call("l", "permute", "layout", (1, 6, 10, 8), ("x", MAP), arguments=(None, (0, 2, 3, 1)))
    assert sum(layout(one, Context()).terms.values()) < sum(layout(two, Context()).terms.values())


def test_operators_differ_in_how_dear_an_element_is() -> None:
    terms = {op: elementwise(call("e", op, "elementwise", MAP, ("x", MAP)), Context()).terms for op in ("add", "tanh")}
    assert terms["tanh"]["exponentials"] > 0 == terms["add"]["exponentials"]


def test_a_sum_is_fused_into_the_norm_that_alone_reads_it() -> None:
    one = call("n", "layer_norm", "norm", (1, 16, 32), ("x", (1, 16, 32)))
    assert norm(one, Context(maker="add", summed=True)).terms["fused sums"] > 0
    assert norm(one, Context(maker="add", shared=True)).terms["fused sums"] == 0


def test_a_gate_is_one_kernel_unless_it_comes_from_bytes() -> None:
    one = call("s", "silu", "elementwise", (1, 16, 32), ("x", (1, 16, 32)))
    plain, rounded = (elementwise(one, Context(rounded=rounded)).terms for rounded in (False, True))
    assert plain["gated by themselves"] > plain["gated in two"] == plain["dequantized"] == 0
    assert rounded["gated in two"] > rounded["gated by themselves"] == 0
    assert rounded["dequantized"] > 0


def test_a_pool_of_bytes_works_on_vectors_only_where_channels_lie_together() -> None:
    one = call("p", "max_pool2d", "pool", MAP, ("x", MAP), arguments=(None, (3, 3)), format="int8")
    last, apart = (sum(max_pool_integer(one, Context(channels_last=c)).terms.values()) for c in (True, False))
    assert last < apart / 3


def test_an_average_of_bytes_costs_by_its_outputs_and_a_global_one_by_its_input() -> None:
    small = call("p", "avg_pool2d", "pool", (1, 8, 3, 5), ("x", MAP), arguments=(None, (2, 2)), format="int8")
    assert average_pool_integer(small, Context()).terms["outputs"] == pytest.approx(120 / 70)
    whole = call("g", "adaptive_avg_pool2d", "pool", (1, 8, 1, 1), ("x", MAP), arguments=(None, 1))
    assert global_pool(whole, Context()).terms["summed"] == pytest.approx(480 / 4e3)


def test_bytes_are_joined_in_runs_of_channels_where_these_lie_together() -> None:
    one = call("c", "cat", "layout", (1, 16, 6, 10), ("x", MAP), ("y", MAP), arguments=((None, None), 1), format="int8")
    last, apart = (join_integer(one, Context(channels_last=c)).terms["runs"] for c in (True, False))
    assert last == pytest.approx(60 * 2 / 60.0)
    assert apart < last


def test_comparisons_are_dearer_than_sums() -> None:
    terms = {op: elementwise(call("e", op, "elementwise", MAP, ("x", MAP)), Context()).terms for op in ("add", "le")}
    assert terms["le"]["compared"] > 0 == terms["add"]["compared"]


def test_averages_in_the_plain_layout_are_summed_one_by_one() -> None:
    one = call("p", "avg_pool2d", "pool", MAP, ("x", MAP), arguments=(None, (3, 3)))
    assert pool(one, Context()).terms["averaged"] > 10 * pool(one, Context(blocked=True)).terms["averaged"]


def test_rounding_and_others_cost_by_elements() -> None:
    one = call("q", "compressor::quantize", "quantize", MAP, ("x", MAP))
    assert rounding(one, Context()).terms["elements"] == pytest.approx(480 / 6e3)
    strange = call("s", "fft", "other", MAP, ("x", MAP), macs=10**6)
    assert other(strange, Context()).terms["macs"] == pytest.approx(50)
