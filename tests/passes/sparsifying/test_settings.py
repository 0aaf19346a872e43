from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.sparsifying.pattern import parse_pattern
from compressor.passes.sparsifying.settings import choose, parse_choice


@pytest.mark.parametrize("data", [True, False])
def test_a_setting_comes_back(data: bool) -> None:
    choice = choose(parse_pattern("2of4", "test"), "auto", True, data=data, where="test")
    assert (choice.score, choice.update) == (("wanda", True) if data else ("magnitude", False))
    assert choice.asks_for_inputs == data
    assert parse_choice("fc", choice.setting(), data=data) == choice
    assert parse_choice("fc", {"pattern": "2of4"}, data=data) == choice


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ({}, "no pattern"),
        ({"pattern": "2of4", "scores": "wanda"}, "no setting 'scores'"),
        ({"pattern": "2of4", "score": "best"}, "score is 'best'"),
        ({"pattern": "2of4", "update": "yes"}, "update is 'yes'"),
        ({"pattern": "lots"}, "pattern is 'lots'"),
    ],
)
def test_what_cannot_be_read_names_the_site(setting: Setting, wrong: str) -> None:
    with pytest.raises(RecipeError, match=rf"(?s)site 'fc'.*{wrong}"):
        parse_choice("fc", setting, data=True)


def test_wanda_needs_data() -> None:
    with pytest.raises(RecipeError, match="no calibration data"):
        parse_choice("fc", {"pattern": "2of4", "score": "wanda"}, data=False)
