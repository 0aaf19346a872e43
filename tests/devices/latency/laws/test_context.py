"""Makers are found through views and dequantizes, and shared inputs are told."""

from __future__ import annotations

from timed_networks import call, conv

from compressor.devices.latency.laws.context import contexts_of, origin

MAP = (1, 8, 8, 8)


def test_maker_and_sharing() -> None:
    calls = [
        conv("conv", "x", 8, 8, 8),
        call("view", "view", "other", MAP, ("conv", MAP), kernel=""),
        call("add", "add", "elementwise", MAP, ("view", MAP)),
        call("mul", "mul", "elementwise", MAP, ("conv", MAP)),
        call("exp", "exp", "elementwise", MAP, ("mul", MAP)),
    ]
    found = contexts_of(calls, {"conv": True})
    assert (found["add"].maker, found["add"].shared) == ("conv2d", True)
    assert (found["exp"].maker, found["exp"].shared) == ("mul", False)
    assert found["conv"].maker == ""
    assert found["conv"].blocked
    assert found["exp"].network_weight_bytes == 4 * 8 * 8 * 9
    assert origin("view", {each.name: each for each in calls}) == "conv"
    assert origin("x", {}) == "x"


def test_a_sum_is_one_only_of_values_that_change() -> None:
    calls = [
        call("table", "embedding", "embedding", MAP),
        call("a", "add", "elementwise", MAP, ("x", MAP), ("table", MAP)),
        call("b", "add", "elementwise", MAP, ("a", MAP), ("x", MAP)),
        call("first", "layer_norm", "norm", MAP, ("a", MAP)),
        call("second", "layer_norm", "norm", MAP, ("b", MAP)),
    ]
    found = contexts_of(calls, {})
    assert not found["first"].summed
    assert found["second"].summed
    assert contexts_of([*calls, call("third", "exp", "elementwise", MAP, ("b", MAP))], {})["second"].summed is False


def test_what_comes_from_bytes_is_told() -> None:
    calls = [call("d", "dequantize", "dequantize", MAP, ("x", MAP)), call("s", "silu", "elementwise", MAP, ("d", MAP))]
    assert contexts_of(calls, {})["s"].rounded
    assert not contexts_of(calls[1:], {})["s"].rounded
