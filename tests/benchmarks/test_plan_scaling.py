"""The problems that solvers are timed on, and the goals."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from plan_scaling import OPTIONS, goals, problem, table  # found through the line above


def test_problems_grow_and_can_be_met() -> None:
    small, large = problem(10), problem(30, pairs=True)
    assert [len(each.sites) for each in (small, large)] == [10, 30]
    assert all(len(site.options) == OPTIONS for site in small.sites)
    assert not small.solution((OPTIONS - 1,) * 10).overruns
    assert sum(len(term.scope) == 2 for term in large.terms) == 29


def test_goals_ask_for_time_and_for_nearly_linear_growth() -> None:
    cells = {f"exact {n}": {"solve_s": s, "objective": 1.0, "peak_mb": 90.0} for n, s in ((1000, 3.0), (10000, 60.0))}
    assert list(goals(cells).values()) == [True, False]
    cells["exact 10000"]["solve_s"] = 30.0
    assert list(goals(cells).values()) == [True, True]
    assert goals({}) == {}
    assert "| exact 1000 | 3.00 |" in table(cells)
