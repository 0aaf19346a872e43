"""Maps around convolutions of bytes lie channels-last, and are turned where anything else meets them."""

from __future__ import annotations

from timed_networks import call, conv

from compressor.devices.latency.laws.channels_last import channels_last, turns_of
from compressor.graph.calls import Call

MAP = (1, 16, 8, 8)


def rounded(name: str, source: str, shape: tuple[int, ...] = MAP) -> list[Call]:
    """Quantize and dequantize; the second is `name`."""
    first = call(f"{name}_q", "compressor::quantize", "quantize", shape, (source, shape))
    return [first, call(name, "compressor::dequantize", "dequantize", shape, (f"{name}_q", shape), kernel="")]


def integer(name: str, source: str) -> Call:
    return conv(name, source, 16, 16, 8, format="int8")


def test_it_is_turned_once_at_the_start_and_once_at_the_end() -> None:
    calls = [
        *rounded("a", "x"), integer("one", "a"), *rounded("b", "one"), integer("two", "b"), *rounded("c", "two"),
        call("out", "flatten", "other", (1, 1024), ("c", MAP), kernel=""),
    ]  # fmt: skip
    lies = channels_last(calls)
    assert [lies[name] for name in ("a", "one", "b", "two", "c", "out")] == [False, True, True, True, True, False]
    assert turns_of(calls) == {"one": [("in", 1024)], "two": [("out", 1024)]}


def test_two_convolutions_share_a_turned_input() -> None:
    calls = [*rounded("a", "x"), integer("one", "a"), integer("two", "a")]
    assert [way for name in ("one", "two") for way, _ in turns_of(calls).get(name, []) if way == "in"] == ["in"]


def test_an_activation_leaves_it_and_a_norm_does_not() -> None:
    for op, kept in (("silu", True), ("batch_norm", False)):
        calls = [*rounded("a", "x"), integer("one", "a"), call("e", op, "elementwise", MAP, ("one", MAP))]
        assert channels_last(calls)["e"] is kept


def test_a_sum_needs_all_of_its_maps_so_and_a_gate_counts_for_none() -> None:
    before = [*rounded("a", "x"), integer("one", "a")]
    mixed = call("s", "add", "elementwise", MAP, ("one", MAP), ("a", MAP))
    gated = call("g", "mul", "elementwise", MAP, ("one", MAP), ("y", (1, 16, 1, 1)))
    assert not channels_last([*before, mixed])["s"]
    assert channels_last([*before, gated])["g"]


def test_greatest_pools_of_bytes_leave_it_and_averages_do_not() -> None:
    for op, kept in (("max_pool2d", True), ("avg_pool2d", False)):
        calls = [*rounded("a", "x"), integer("one", "a"), call("p", op, "pool", MAP, ("one", MAP), format="int8")]
        assert channels_last(calls)["p"] is kept


def test_single_precision_is_never_turned() -> None:
    calls = [conv("one", "x", 16, 16, 8), call("e", "relu", "elementwise", MAP, ("one", MAP))]
    assert not any(channels_last(calls).values())
    assert turns_of(calls) == {}
