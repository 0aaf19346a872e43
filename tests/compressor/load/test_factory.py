"""A factory that fails says where and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile.models import factory_file
from torch import nn

from compressor.errors import LoadError, UserError
from compressor.load.factory import build, needed


def test_module_is_built(tmp_path: Path) -> None:
    assert isinstance(build(f"{factory_file(tmp_path)}:build"), nn.Sequential)


@pytest.mark.parametrize(
    ("function", "message"),
    [("raises", "no such dataset"), ("number", "returned int"), ("takes", "missing 1 required"), ("biuld", "build")],
)
def test_function_that_fails(function: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        build(f"{factory_file(tmp_path)}:{function}")
    assert message in str(caught.value)


def test_line_of_the_user_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        build(f"{factory_file(tmp_path)}:raises")
    assert "factory.py:12" in caught.value.where


@pytest.mark.parametrize("text", ["missing.py:build", "nothing", ":", "a.py:"])
def test_no_such_file(text: str) -> None:
    with pytest.raises(UserError):
        build(text)


def test_needed_names_the_flag() -> None:
    assert "--model" in needed("m.pt", "weights").way_out
