"""Units as recipes write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.passes.pruning.settings import parse_units, spell_units

UNITS = tuple(range(100, 140))


@given(st.sets(st.sampled_from(UNITS)))
def test_round_trip(chosen: set[int]) -> None:
    assert set(parse_units("d", UNITS, {"remove": spell_units(UNITS, chosen)})) == chosen


def test_runs_are_joined() -> None:
    assert spell_units(UNITS, [100, 101, 102, 105]) == "0-2,5"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"remove": "0-x"}, "'0-x'"),
        ({"remove": "40"}, "no number 40"),
        ({"remove": 3}, "keys are"),
        ({"keep": "0"}, "keys are"),
        ({"remove": "-1"}, "'-1'"),
    ],
)
def test_refusals_name_the_site(setting: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        parse_units("layer1", UNITS, setting)
    assert "layer1" in str(caught.value.where)
