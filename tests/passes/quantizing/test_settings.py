"""Settings as recipes write them."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.quantizing.settings import (
    INPUT,
    OUTPUT,
    activation_format,
    bounds,
    check_settings,
    format_of,
    is_static,
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
