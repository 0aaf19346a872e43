"""Settings are read back as they were written, and refused in words."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.linearizing.settings import TRAINING, lesson_of, pairs_of, training_setting
from compressor.passes.linearizing.training import Lesson


def test_there_and_back() -> None:
    lesson = Lesson("300steps", "output", 0.01)
    sites = {"a": {"through": "c"}, TRAINING: training_setting(lesson, "output", "")}
    assert pairs_of(sites) == {"a": "c"}
    assert lesson_of(sites) == lesson
    assert lesson_of({"a": {"through": "c"}}) is None


@pytest.mark.parametrize("setting", [{}, {"till": "c"}, {"through": "c", "more": 1}])
def test_a_stretch_needs_its_end(setting: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="through"):
        pairs_of({"a": setting})


@pytest.mark.parametrize("setting", [{"budget": "soon"}, {"budget": "3steps", "pace": 2}, {}])
def test_training_needs_a_budget(setting: dict[str, str]) -> None:
    with pytest.raises(RecipeError):
        lesson_of({TRAINING: setting})
