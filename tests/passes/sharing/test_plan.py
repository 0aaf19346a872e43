"""Plans: groups by the options, groups by a recipe, and what is declined."""

from __future__ import annotations

import pytest
from sharing_nets import copied, deep_gpt
from tiny import text_batches

from compressor.errors import RecipeError
from compressor.graph.contract import Progress
from compressor.passes.sharing.clusters import Groups
from compressor.passes.sharing.plan import Asked, as_told, carry_out, others_of, planned
from compressor.passes.sharing.settings import Told
from compressor.passes.sharing.values import Grams

SETTING = {"units": "blocks.0 blocks.1", "part": "block", "weights": "blocks.0", "norms": "own", "repeat": True}


def names(size: int, groups: Groups, *keep: str) -> list[str]:
    found, _ = planned(copied(deep_gpt()), Asked(size, groups, "block", "own", keep), text_batches(1, 4))
    return ["".join(unit.name[-1] for unit in units) for units in found]


def test_groups_by_the_options() -> None:
    assert names(2, "pairs") == ["01", "23"]
    assert names(3, "pairs") == ["012"]
    assert names(0, "pairs") == ["0123"]
    assert names(2, "sandwich") == ["12"]
    assert names(0, "cka") == ["0123"]
    assert names(2, "pairs", "blocks.0.*") == ["12"]


def test_cka_wants_data() -> None:
    with pytest.raises(RecipeError, match="calibration data"):
        planned(copied(deep_gpt()), Asked(2, "cka", "block", "own", ()), [])


def test_groups_by_a_recipe() -> None:
    program = copied(deep_gpt())
    sites = {"blocks.0": SETTING, "blocks.7": {**SETTING, "units": "blocks.7 blocks.8"}}
    [(units, told)], [skip] = as_told(program, sites, ())
    assert [unit.name for unit in units] == ["blocks.0", "blocks.1"]
    assert told.weights == "blocks.0"
    assert skip.site == "blocks.7"
    assert "blocks.7 is not there" in skip.reason


def test_weights_of_a_stranger_are_declined() -> None:
    program = copied(deep_gpt())
    [(units, _)], _ = as_told(program, {"blocks.0": SETTING}, ())
    told = Told(("blocks.0", "blocks.1"), "block", "blocks.3", "own", True)
    done = carry_out(program, units, told, Grams(program, [], Progress()))
    assert done == "blocks.3 is none of the group"


def test_where_one_block_stands_for_its_group_the_others_go() -> None:
    program = copied(deep_gpt())
    [(units, told)], _ = as_told(program, {"blocks.0": {**SETTING, "repeat": False}}, ())
    going = others_of(program, units, told)
    assert [each.site for each in going if not isinstance(each, str)] == ["blocks.1"]
