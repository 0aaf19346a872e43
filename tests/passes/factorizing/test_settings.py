"""Settings as recipes write them, there and back, and what cannot be read."""

from __future__ import annotations

import pytest
import torch
from boards import board

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Setting
from compressor.passes.factorizing.settings import Choice, choose_method, parse_choice

BLIND = Context(board())
DATA = Context(board(), calibration=[{"x": torch.zeros(1)}], synthetic=False)


@pytest.mark.parametrize(
    "choice", [Choice(3), Choice(8, 4), Choice(8, 0, "activation", True), Choice(8, 2, "activation")]
)
def test_there_and_back(choice: Choice) -> None:
    assert parse_choice("fc", choice.setting(), DATA) == choice


def test_only_what_differs_is_written() -> None:
    assert Choice(3).setting() == {"rank": 3, "method": "svd"}
    assert Choice(8, 4, "activation", True).told() == "ranks 4 and 8"
    assert Choice(8).told() == "rank 8"


def test_the_method_by_the_data() -> None:
    assert choose_method("auto", DATA) == "activation"
    assert choose_method("auto", BLIND) == "svd"
    assert choose_method("svd", DATA) == "svd"
    made_up = Context(board(), calibration=[{"x": torch.zeros(1)}])
    assert choose_method("auto", made_up) == "svd"
    with pytest.raises(RecipeError, match="no calibration data"):
        choose_method("activation", made_up)
    assert parse_choice("fc", {"rank": 2, "refit": True}, BLIND) == Choice(2)  # there is nothing to fit to


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({}, "a rank or a share"),
        ({"rank": 2, "share": 0.5}, "a rank or a share"),
        ({"share": 1.5}, "share is 1.5"),
        ({"rank": 2, "multiple": 8}, "multiple is 8"),
        ({"share": 0.5, "multiple": -8}, "multiple is -8"),
        ({"rank": 2, "width": 3}, "no setting 'width'"),
        ({"rank": 0}, "rank is 0"),
        ({"rank": True}, "rank is True"),
        ({"rank": 2.5}, "rank is 2.5"),
        ({"rank": 2, "inner": -1}, "inner is -1"),
        ({"rank": 2, "method": "qr"}, "method is 'qr'"),
        ({"rank": 2, "refit": "yes"}, "refit is 'yes'"),
        ({"rank": 2, "method": "activation"}, "no calibration data"),
    ],
)
def test_what_cannot_be_read(setting: Setting, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        parse_choice("fc", setting, BLIND)
    assert caught.value.where == "factorize: site 'fc'"
