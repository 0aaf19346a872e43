from __future__ import annotations

import pytest

from compressor.graph.program import Program
from compressor.passes.sparsifying.layers import find_layers
from compressor.passes.sparsifying.pattern import parse_pattern
from compressor.passes.sparsifying.remarks import BYTES, remarks, weights_of
from compressor.targets import HOST, load_target, target_names

TWO_OF_FOUR = parse_pattern("2of4", "test")


@pytest.mark.parametrize("name", [name for name in target_names() if name != HOST])
def test_each_board_says_whether_it_is_faster_and_none_that_it_is_smaller(name: str) -> None:
    time, size = remarks([(TWO_OF_FOUR, 256), (TWO_OF_FOUR, 64)], load_target(name), "int8")
    assert ("saves time" in time) == (name in ("jetson-orin-nano", "jetson-agx-orin"))
    assert ("saves no time" in time) != ("saves time" in time)
    assert size == BYTES


def test_what_would_be_faster_is_named() -> None:
    orin = load_target("jetson-orin-nano")
    assert "makes use of 2of4" in remarks([(parse_pattern("0.5", "test"), 256)], orin, "int8")[0]
    assert "let fp16 or int8 follow" in remarks([(TWO_OF_FOUR, 256)], orin, "fp32")[0]
    assert "follow" not in remarks([(TWO_OF_FOUR, 256)], orin, "fp16")[0]
    assert remarks([(TWO_OF_FOUR, 256), (TWO_OF_FOUR, 64)], orin, "fp16")[0].endswith("1 of these 2")
    assert remarks([(TWO_OF_FOUR, 64)], orin, "fp16")[0].startswith("2of4 saves no time here")
    assert remarks([], orin, "fp32") == ()


def test_the_format_of_most(conv_program: Program) -> None:
    assert weights_of(conv_program, find_layers(conv_program)[0]) == weights_of(conv_program, []) == "fp32"
