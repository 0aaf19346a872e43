"""The formats that are trained, as recipes write them."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.quantizing.choosing.candidates import Candidate
from compressor.passes.quantizing.training.choices import parse_budgets, parse_choices, spell_choices

SETTINGS = [
    {"format": "int2", "block": 64},
    {"format": "int4", "block": 128},
    {"format": "int8", "weights": "int7"},
]


def test_choices_are_read_as_they_were_written() -> None:
    options = {"a.b": [Candidate("a.b", {"a.b": setting}, 1) for setting in SETTINGS]}
    text = spell_choices({**options, "c": [Candidate("c", {"c": {"format": "int8"}}, 1)]})
    assert text == "a.b=int2:64/int4:128/int8:int7 c=int8"
    assert parse_choices(text) == {"a.b": SETTINGS, "c": [{"format": "int8", "weights": "int8"}]}
    assert parse_choices("") == {}


@pytest.mark.parametrize("text", ["a=int3:32", "a=int4:33", "a=int4:32/int4:64", "int4:32", "a=", "a=int8:int9"])
def test_what_is_no_choice_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="choices"):
        parse_choices(text)


def test_budgets() -> None:
    assert parse_budgets("3/4.5/6") == (3.0, 4.5, 6.0)
    for text in ("3", "6/3", "3/3", "0/4", "a/b", "nan/4", "3/99"):
        with pytest.raises(RecipeError, match="budgets"):
            parse_budgets(text)
