"""Each call is priced among the kernels of its own law."""

from __future__ import annotations

import pytest
from timed_networks import call, conv, linear

from compressor.devices.latency.laws.groups import group_of
from compressor.graph.calls import Call

MAP = (1, 8, 8, 8)


@pytest.mark.parametrize(
    ("one", "blocked", "group"),
    [
        (conv("c", "x", 16, 16, 8), True, "conv blocked"),
        (conv("c", "x", 16, 16, 8), False, "conv"),
        (conv("c", "x", 3, 16, 8), True, "conv image"),
        (conv("c", "x", 16, 16, 8, groups=16), True, "depthwise blocked"),
        (conv("c", "x", 16, 16, 8, groups=16, format="int8"), False, "depthwise int8"),
        (conv("c", "x", 16, 16, 8, format="int8"), False, "conv int8"),
        (linear("l", "x", 1, 8, 8), False, "gemv"),
        (linear("l", "x", 2, 8, 8, format="int8"), False, "linear int8"),
        (linear("l", "x", 1, 8, 8, format="int4"), False, "gemv int4"),
        (call("p", "max_pool2d", "pool", MAP, ("x", MAP), readers=("compressor::quantize",)), False, "max pool int8"),
        (call("p", "avg_pool2d", "pool", MAP, ("x", MAP)), True, "pool blocked"),
        (call("p", "adaptive_avg_pool2d", "pool", (1, 8, 1, 1), ("x", MAP), arguments=(None, 1)), False, "global pool"),
        (call("t", "permute", "layout", MAP, ("x", MAP)), False, "transpose"),
        (call("j", "cat", "layout", MAP, ("x", MAP)), False, "join"),
        (call("j", "cat", "layout", MAP, ("x", MAP), format="int8"), False, "join int8"),
        (call("s", "chunk", "layout", MAP, ("x", MAP)), False, "split"),
        (call("r", "roll", "layout", MAP, ("x", MAP)), False, "layout"),
        (call("d", "compressor::dequantize", "dequantize", MAP, ("x", MAP), kernel=""), False, "dequantize"),
        (call("v", "view", "other", MAP, ("x", MAP), kernel=""), False, "view"),
        (call("o", "fft", "other", MAP, ("x", MAP)), False, "other"),
        (call("a", "add", "elementwise", MAP, ("x", MAP), format="int8"), False, "elementwise int8"),
    ],
)
def test_group(one: Call, blocked: bool, group: str) -> None:
    assert group_of(one, blocked) == group
