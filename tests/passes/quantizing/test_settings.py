"""Settings as recipes write them."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.quantizing.settings import (
    INPUT,
    OUTPUT,
    activation_format,
    block_of,
    bounds,
    check_settings,
    format_of,
    is_block,
    is_static,
    spread,
    weight_format,
)

RANGES = {"low": -1, "high": 2.5, "out_low": 0, "out_high": 6}
STATIC = {"format": "int8", "weights": "int7", "activation": "uint8", **RANGES}


def test_a_static_setting_says_everything() -> None:
    check_settings("conv", STATIC, static=True, glue=False)
    assert format_of(STATIC) == "int8"
    assert is_static(STATIC)
    assert (weight_format(STATIC).name, activation_format(STATIC).name) == ("int7", "uint8")
    assert bounds(STATIC, INPUT) == (-1.0, 2.5)
    assert bounds(STATIC, OUTPUT) == (0.0, 6.0)


def test_weights_alone() -> None:
    setting = {"format": "int8"}
    check_settings("embed", setting, static=False, glue=False)
    assert not is_static(setting)
    assert weight_format(setting).name == "int8"


def test_an_embedding_has_no_activations() -> None:
    with pytest.raises(RecipeError, match="only weights can be integer here"):
        check_settings("embed", STATIC, static=False, glue=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "wide", True])
def test_ranges_are_finite_numbers(value: object) -> None:
    with pytest.raises(RecipeError, match="not a range"):
        check_settings("conv", {**STATIC, "high": value}, static=True, glue=False)  # type: ignore[dict-item]


def test_weights_in_blocks() -> None:
    setting = {"format": "int4", "block": 64, "activation": "int8"}
    check_settings("linear", setting, static=True, glue=False)
    assert (is_block(setting), is_static(setting), block_of(setting)) == (True, False, 64)
    assert not is_block(STATIC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 48}, "block is 48, not one of 32, 64, 128"),
        ({"block": True}, "block is True"),
        ({"block": None}, "block is None"),
        ({"activation": "uint8"}, "it can be int8 alone"),
        ({"weights": "int8"}, "unknown key 'weights'"),
        ({"low": 0.0, "high": 1.0}, "unknown key 'high'"),
    ],
)
def test_blocks_that_cannot_be(change: dict[str, object], message: str) -> None:
    setting = {"format": "int2", "block": 32, **change}
    with pytest.raises(RecipeError, match=message):
        check_settings("linear", setting, static=True, glue=False)  # type: ignore[arg-type]


def test_other_formats_have_no_blocks() -> None:
    with pytest.raises(RecipeError, match="unknown key 'block'"):
        check_settings("linear", {"format": "int8", "block": 32}, static=True, glue=False)


def test_settings_of_modules_are_those_of_the_layers_within() -> None:
    said: dict[str, Setting] = {"a": {"format": "int8"}, "b": {"format": "fp16"}, "b.x": {"format": "fp32"}}
    found = spread(said, ["a", "b.x", "b.y", "bc"])
    assert found == {"a": {"format": "int8"}, "b.y": {"format": "fp16"}, "b.x": {"format": "fp32"}}
    assert spread({"gone": {"format": "int8"}}, ["a"]) == {"gone": {"format": "int8"}}
