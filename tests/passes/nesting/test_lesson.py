"""How entries are trained, as a recipe's site says it."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.nesting.lesson import NONE, SITE, Lesson


def test_what_is_told_is_read_again() -> None:
    lesson = Lesson("30steps", names="0.5/0.25", how="nested", inplace=False, mixes=2)
    told = lesson.setting("kl", "")
    assert told == {
        "train": "30steps", "losses": "kl", "names": "0.5/0.25", "how": "nested", "inplace": False, "mixes": 2,
    }  # fmt: skip
    read = Lesson.read({SITE: told})
    assert read is not None
    assert read.setting("kl", "") == told
    assert Lesson.read({"other": {}}) is None


def test_training_may_be_none() -> None:
    assert Lesson(NONE, names="a").setting("auto", "") == {"train": NONE, "names": "a"}


@pytest.mark.parametrize(
    "wrong", [{"train": "soon"}, {"how": "all"}, {"score": "beauty"}, {"mixes": -1}, {"samples": 0}, {"names": "a/a"}]
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Lesson(**{"train": "1steps", "names": "a", **wrong})  # type: ignore[arg-type]
    with pytest.raises(RecipeError):
        Lesson.read({SITE: {"train": "1steps", "names": "a", "inplace": "no"}})
