"""A group's setting: there and back, and what is refused."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.sharing.settings import Told, parse_told

GOOD = {"units": "a b", "part": "mlp", "weights": "mean", "norms": "own", "repeat": True}


def test_there_and_back() -> None:
    told = parse_told("a", GOOD)
    assert told == Told(("a", "b"), "mlp", "mean", "own", True)
    assert told.setting() == GOOD


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"part": "half"}, "part is 'half'"), ({"norms": "none"}, "norms is 'none'"), ({"repeat": "often"}, "repeat"),
        ({"units": "a"}, "two units"), ({"units": "b a"}, "called after the first"),
        ({"units": "a a"}, "each once"), ({"extra": 1}, "unknown key"),
    ],
)  # fmt: skip
def test_what_is_refused(change: dict[str, str], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        parse_told("a", {**GOOD, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match="missing key 'weights'"):
        parse_told("a", {key: value for key, value in GOOD.items() if key != "weights"})
