"""How scales were found is read as it was written, and what cannot be is refused."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.quantizing.scaling.ways import How, check_ways, ways_of, written


@pytest.mark.parametrize(
    ("ways", "setting"),
    [
        ([("smooth", 0.5)], {"equalize": "smooth", "alpha": 0.5}),
        ([("cross-layer", 0.0)] * 2, {"equalize": "cross-layer"}),
        ([("smooth", 0.25), None, ("cross-layer", 0.0)], {"equalize": "smooth 0.25, none, cross-layer"}),
        ([None, ("awq", 1.0)], {"equalize": "none, awq 1"}),
    ],
)
def test_is_read_as_it_was_written(ways: list[How | None], setting: Setting) -> None:
    assert written(ways) == setting
    check_ways(setting, "quantize: site 'x'")
    assert ways_of(setting, len(ways)) == ways


def test_one_word_is_for_all() -> None:
    assert ways_of({"equalize": "smooth", "alpha": 0.5}, 2) == [("smooth", 0.5)] * 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"equalize": "best", "alpha": 0.5}, "equalize is 'best'"),
        ({"equalize": "smooth"}, "alpha is None"),
        ({"equalize": "cross-layer", "alpha": 0.5}, "alpha is 0.5"),
        ({"alpha": 0.5}, "equalize is None"),
        ({"equalize": "smooth 0.5, best"}, "equalize is 'best'"),
        ({"equalize": "smooth 2, none"}, "alpha is 2.0"),
        ({"equalize": "smooth x, none"}, "alpha is 'x'"),
        ({"equalize": "smooth 0.5, none", "alpha": 0.5}, "alpha stands in equalize"),
    ],
)
def test_what_there_is_not_is_refused(setting: Setting, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        check_ways(setting, "quantize: site 'x'")
    assert "site 'x'" in str(caught.value)


def test_another_number_of_words_is_refused() -> None:
    with pytest.raises(RecipeError, match="2 words for 3 layers"):
        ways_of({"equalize": "smooth 0.5, none"}, 3, "quantize: site 'x'")
