"""The options of training: refused where they make no sense, and kept by recipes."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.errors import RecipeError
from compressor.passes.quantizing.training.lesson import Lesson


@pytest.mark.parametrize(
    "options",
    [{"train": "soon"}, {"losses": "kld"}, {"rate": -1.0}, {"ranges": "wide"}, {"marks": "5 3"}],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Lesson(**{"train": "5steps", **options})


def test_a_recipe_keeps_what_is_no_default() -> None:
    lesson = Lesson("2min", rate=0.002, norm=True)
    setting = lesson.setting("output", "3 9 /1")
    assert setting == {
        "train": "2min", "losses": "output", "rate": 0.002, "norm": True, "marks": "3 9 /1",
    }  # fmt: skip
    read = Lesson.read({"program": setting, "head": {"format": "int8"}})
    assert read == Lesson("2min", "output", 0.002, norm=True, marks="3 9 /1")
    assert Lesson.read({"head": {"format": "int8"}}) is None


@pytest.mark.parametrize(
    "setting",
    [{"train": "5steps", "budget": "5steps"}, {"rate": 0.1}, {"train": 5}, {"train": "5steps", "rate": True},
     {"train": "5steps", "rate": "fast"}, {"train": "5steps", "norm": "yes"}],
)  # fmt: skip
def test_a_recipe_that_says_something_else_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"program|budget"):
        Lesson.read({"program": setting})
