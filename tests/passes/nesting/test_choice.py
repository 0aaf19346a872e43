"""What entries keep, as options and recipes say it."""

from __future__ import annotations

import pytest
from recovery import vit

from compressor.errors import RecipeError
from compressor.graph.dimensions.groups import analyse
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.nesting.choice import (
    Choice,
    apart,
    blocks_out,
    mixes,
    names_of,
    parse_shares,
    read_settings,
    settings_of,
    within,
)  # fmt: skip

ONE, TWO = Choice({"a": 0.5, "b": 0.5}, frozenset({"x"})), Choice({"a": 0.25, "b": 0.5})


def test_shares_and_names_are_read_or_refused() -> None:
    assert parse_shares("0.5/.25", "here") == (0.5, 0.25)
    assert parse_shares("1/0", "here", whole=True) == (1.0, 0.0)
    for text in ("", "half", "1", "0.5/", "-0.5", "nan", "1.5"):
        with pytest.raises(RecipeError, match="no shares"):
            parse_shares(text, "here")
    assert names_of("half/0.25", "here") == ("half", "0.25")
    for text in ("", "a/a", "a//b", "../x", "full", "a b"):
        with pytest.raises(RecipeError, match="name the entries"):
            names_of(text, "here")


def test_settings_say_the_same_again() -> None:
    told = settings_of([ONE, TWO])
    assert told == {"a": {"keep": "0.5/0.25"}, "b": {"keep": "0.5/0.5"}, "x": {"runs": "0/1"}}
    assert read_settings(told, 2) == [ONE, TWO]


@pytest.mark.parametrize(
    "setting", [{}, {"remove": "1"}, {"keep": "0.5"}, {"keep": "0.5/0"}, {"runs": "0.5/1"}, {"keep": 3}]
)
def test_a_setting_that_says_nothing_of_its_site_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="site 'a'"):
        read_settings({"a": setting}, 2)


def test_entries_that_are_none_are_left_out_and_it_is_said() -> None:
    names, choices, skipped = apart(["a", "b", "c"], [Choice({"w": 1.0}), ONE, ONE])
    assert (names, choices) == (["b"], [ONE])
    assert [(skip.site, skip.reason) for skip in skipped] == [
        ("entry a", "nothing in the network can be left out for it"),
        ("entry c", "it would be the same as b"),
    ]


def test_mixes_take_from_the_entries_and_are_drawn_by_the_seed() -> None:
    found = mixes([ONE, TWO], 30, 0)
    assert found == mixes([ONE, TWO], 30, 0) != mixes([ONE, TWO], 30, 1)
    assert {each.widths["a"] for each in found} == {1.0, 0.5, 0.25}
    assert {each.out for each in found} == {frozenset(), ONE.out}


def test_units_inside_of_blocks_and_blocks_behind_an_exit() -> None:
    program = vit(4)
    dimensions = analyse(program).dimensions
    mlp, block = (within(program, dimensions, part) for part in ("mlp", "block"))  # type: ignore[arg-type]
    assert [one.name for one in mlp] == [f"1.{n}.ffn.1" for n in range(4)]
    assert {*(one.name for one in mlp)} < {*(one.name for one in block)} < {*(one.name for one in dimensions)}
    assert within(program, dimensions, "auto") == block
    assert within(program, dimensions, "all") == list(dimensions)
    blocks = candidates_of(program, "block")[0]
    names = [each.site for each in blocks]
    assert blocks_out(program, blocks, 0.5, first=True, batches=()) == {*names[2:]}
    assert names[-1] not in blocks_out(program, blocks, 0.5, first=False, batches=()), "the head was trained behind it"
    assert not blocks_out(program, blocks, 0.95, first=True, batches=())
    assert len(blocks_out(program, blocks, 0.01, first=True, batches=())) == 3, "one is left"
