"""A carbon intensity is given, or assumed and called so."""

from __future__ import annotations

import math
from typing import Any

import pytest

from compressor.carbon import carbon_given
from compressor.devices.energy import WORLD
from compressor.errors import InputError


def test_what_is_given_is_taken_and_nothing_given_is_assumed() -> None:
    assert carbon_given(None) is WORLD
    assert (carbon_given(30).g_per_kwh, carbon_given(30).source) == (30.0, "given")
    assert carbon_given(0).g_per_kwh == 0.0


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "much", [1]])
def test_what_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="carbon intensity") as caught:
        carbon_given(value)
    assert caught.value.where == "--carbon"
    assert "475 are assumed" in caught.value.way_out
