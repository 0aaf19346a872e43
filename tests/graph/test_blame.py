"""Errors point at the user's line, and at torch's layer below it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from compressor.graph.blame import depends_on_data, first_line, torch_layer, user_line


def caught(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011  the errors are torch's, of many types
        function()
    return info.value


def test_the_users_line_is_the_innermost_outside_torch() -> None:
    error = caught(lambda: nn.Linear(3, 2)(torch.zeros(1, 4)))
    assert user_line(error).startswith("test_blame.py:")
    assert "nn.Linear(3, 2)" in user_line(error)


def test_torchs_layer_is_named_when_it_raised_below() -> None:
    assert torch_layer(caught(lambda: nn.Linear(3, 2)(torch.zeros(1, 4)))).startswith("linear.py:")
    assert torch_layer(caught(lambda: torch.zeros(2) @ torch.zeros(3))) == ""


def test_an_error_that_was_never_raised_has_no_line() -> None:
    assert user_line(ValueError("x")) == ""
    assert torch_layer(ValueError("x")) == ""


def test_one_line_of_an_error() -> None:
    assert first_line(ValueError("\nfirst\nsecond")) == "first"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 1000))) == 300


def test_data_dependence_is_recognized_by_its_words() -> None:
    assert depends_on_data(RuntimeError("Could not guard on data-dependent expression u0 > 1"))
    assert not depends_on_data(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
