"""Budgets as they are written."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.recover.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("5min", 300, "seconds"), ("90s", 90, "seconds"), ("1h", 3600, "seconds"), (".5min", 30, "seconds"),
     ("300steps", 300, "steps"), ("1 step", 1, "steps"), ("3epochs", 3, "epochs"), ("0.5epochs", 0.5, "epochs")],
)  # fmt: skip
def test_budgets_are_read(text: str, amount: float, unit: str) -> None:
    assert parse_budget(text) == Budget(amount, unit, text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "5", "min", "-3steps", "0steps", "1.5steps", "3 weeks", "none", "1e9999s"])
def test_what_is_no_budget_is_told_with_the_way_out(text: str) -> None:
    with pytest.raises(RecipeError, match="300steps") as error:
        parse_budget(text, "--recover")
    assert error.value.where == "--recover"


def test_steps_of_a_budget() -> None:
    assert parse_budget("3epochs").steps(7) == 21
    assert parse_budget("0.01epochs").steps(7) == 1
    assert parse_budget("5steps").steps(7) == 5
    assert parse_budget("5min").steps(7) is None
