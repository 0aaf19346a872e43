"""Recipes survive the round trip and refuse what they cannot mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.passlist import PassSpec
from compressor.recipe import Recipe, dump_recipe, load_recipe, with_sites


def test_round_trip(tmp_path: Path) -> None:
    spec = PassSpec("quantize", {"format": "int8"}, {'conv "1"': {"low": -1.5, "format": "int8"}}, "recipe")
    fold = PassSpec("fold", {}, {"batch_norm:bn": {"rule": "batch_norm"}}, "recipe")
    recipe = Recipe((fold, spec), "jetson", 7, ("head.*",), "abc", halved=True)
    (tmp_path / "r.toml").write_text(dump_recipe(recipe, "made by a test"), encoding="utf-8")
    assert load_recipe(tmp_path / "r.toml") == recipe


def test_with_sites_pins_a_pass() -> None:
    assert with_sites(PassSpec("fold"), {"a": {"rule": "x"}}).sites == {"a": {"rule": "x"}}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("version = 1\npass = 3", "pass is a int"),
        ("verson = 1", "Did you mean version"),
        ("version = 9", "version 9"),
        ("[[pass]]\nnam = 'fold'", "unknown key 'nam'"),
        ("[[pass]]\nseed = 2", "unknown key"),
        ("[[pass]]\n[pass.options]\nx = 1", "has no name"),
        ("[[pass]]\nname = 'fodl'", "Did you mean fold"),
        ("[[pass]]\nname = 'fold'\n[pass.sites]\na = 3", "not a table of plain values"),
        ("[[pass]]\nname = 'fold'\n[pass.sites.a]\nb = [1]", "not a table of plain values"),
        ("[[pass]]\nname = 'quantize'\n[pass.options]\nformat = 'int9'", "int9"),
        ("a = [", "is not TOML"),
        ("keep = 'a'", "keep is a str"),
        ("split = 'thirds'", "split is 'thirds'"),
        ("keep = [3]", "list of names"),
    ],
)
def test_refusals(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "r.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=part):
        load_recipe(tmp_path / "r.toml")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        load_recipe(tmp_path / "none.toml")


def test_what_a_teacher_taught_is_not_done_again_without_it() -> None:
    Recipe(()).check_teacher("any")
    Recipe((), teacher="a").check_teacher("a")
    for teacher in (None, "b"):
        with pytest.raises(RecipeError, match="--teacher"):
            Recipe((), teacher="a").check_teacher(teacher)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "r.toml"
    path.write_bytes(data)
    try:
        load_recipe(path)
    except RecipeError:
        return
