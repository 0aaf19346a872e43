"""Every group has its law, and what lacks the shapes for it falls back to bytes."""

from __future__ import annotations

from timed_networks import call, conv, linear

from compressor.devices.latency.laws.describe import numbers_of
from compressor.devices.latency.laws.numbers import Context

MAP = (1, 8, 8, 8)


def test_laws_by_group() -> None:
    assert "waits" in numbers_of(conv("c", "x", 8, 8, 8), "conv blocked", Context(True)).terms
    assert "macs of 6 rows" in numbers_of(linear("l", "x", 8, 8, 8), "linear", Context()).terms
    assert (
        "taps" not in numbers_of(call("a", "add", "elementwise", MAP, ("x", MAP)), "elementwise int8", Context()).terms
    )


def test_a_change_of_view_is_priced_by_its_operator() -> None:
    assert numbers_of(call("v", "view", "other", MAP, ("x", MAP), kernel=""), "view", Context()).terms == {"view": 2.0}


def test_odd_shapes_fall_back_to_bytes_and_operations() -> None:
    odd = call("c", "conv2d", "conv2d", MAP, ("x", MAP), macs=4000)
    assert {"macs", "elements"} <= numbers_of(odd, "conv", Context()).terms.keys()
    assert numbers_of(call("s", "sym_size", "other", ()), "other", Context()).terms["call"] > 0
