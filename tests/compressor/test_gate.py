"""The gate objects to what is worse on the objective, and to nothing else."""

from __future__ import annotations

import math

import pytest

from compressor.errors import InputError
from compressor.gate import Gate, parse_budget
from compressor.report.model import Cost


def test_worse_latency_is_refused_and_worse_size_is_not() -> None:
    gate = Gate("latency")
    assert "got worse by 10.0%" in (gate.objection(Cost(1.0, 100), Cost(1.1, 50)) or "")
    assert gate.objection(Cost(1.0, 100), Cost(0.9, 200)) is None


def test_a_size_objective_lets_latency_grow() -> None:
    gate = Gate("size")
    assert gate.objection(Cost(1.0, 100), Cost(2.0, 50)) is None
    assert gate.objection(Cost(1.0, 100), Cost(0.5, 102)) is not None


def test_memory_and_energy_are_judged_at_the_end_and_not_pass_by_pass() -> None:
    gate = Gate("latency", (parse_budget("memory", "1MB"), parse_budget("energy", "1mJ")))
    assert gate.axes == ("latency",)


def test_within_one_percent_is_noise() -> None:
    assert Gate("latency").objection(Cost(1.0, 1), Cost(1.009, 1)) is None


def test_an_unknown_latency_objects_to_nothing() -> None:
    assert Gate("latency").objection(Cost(None, 1), Cost(None, 9)) is None


def test_a_budget_overrides_the_objective() -> None:
    gate = Gate("latency", (parse_budget("size", "2MB"),))
    assert gate.axes == ("size",)
    assert gate.objection(Cost(1.0, 100), Cost(5.0, 100)) is None


@pytest.mark.parametrize(
    ("axis", "text", "original", "limit"),
    [
        ("latency", "8ms", 99.0, 8.0),
        ("latency", "0.5x", 10.0, 5.0),
        ("size", "2MB", 9.0, 2e6),
        ("size", "1KiB", 9.0, 1024.0),
        ("memory", "0.5x", 8.0, 4.0),
        ("energy", "5mJ", 9.0, 5e-3),
    ],
)
def test_budgets(axis: str, text: str, original: float, limit: float) -> None:
    assert parse_budget(axis, text).limit(original) == limit  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "8", "ms", "-1ms", "0ms", "8MB", "1e3ms", "nanms", "x"])
def test_malformed_budgets_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a budget"):
        parse_budget("latency", text)


def test_the_least_is_no_bound() -> None:
    least = parse_budget("size", "min")
    assert least.least
    assert least.limit(5.0) == math.inf
    assert not parse_budget("size", "0.5x").least
