"""The whole front: plans of which none is better than another in latency, size and damage at once.

    plans of weighted sums of damage and time, and of damage and bytes, and between them NSGA-II from there

A solver that was asked for answers a few budgets of time and of bytes in place of the sums.

All of it is answered by the tables: nothing is built, and another budget costs a solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from compressor.plan.evolution import Evolutionary, undominated
from compressor.plan.problem import Axis, Solution
from compressor.plan.solvers import Solver
from compressor.plan.sweep import sweep
from compressor.plan.tables import Tables

__all__ = ["AXES", "SHOWN", "front"]

STEPS = 5  # budgets along each axis, evenly from nothing to the most that can be saved
SHOWN = 24  # plans, the most different ones where there are more
AXES: tuple[Axis, ...] = ("damage", "latency", "size")


def front(tables: Tables, solver: Solver | None, most: float, seed: int = 0) -> list[Solution]:
    """Plans of `most` damage at the most: first the original, then from the slowest on."""
    weights: dict[Axis, float] = dict.fromkeys(AXES, 1.0)
    free = tables.problem({"damage": most}, weights, {})
    known = [free.solution((0,) * len(tables.sites))]
    if not tables.sites:
        return known
    units = {axis: known[0].costs.get(axis, 0.0) or 1.0 for axis in AXES}
    timed = [axis for axis in AXES[1:] if known[0].costs.get(axis, 0.0) > 0]
    for axis in timed:
        known += sweep(free, axis, units) if solver is None else _at_budgets(tables, solver, most, axis, units)
    found = Evolutionary(population=100, seed=seed, starts=tuple(each.picks for each in known)).front(free)
    within = [e for e in undominated([*known, *found], AXES) if e.costs["damage"] <= most and any(e.picks)]
    return [known[0], *_few(sorted(within, key=lambda each: -each.costs.get("latency", 0.0)), units)]


def _at_budgets(
    tables: Tables, solver: Solver, most: float, axis: Axis, units: dict[Axis, float]
) -> list[Solution]:  # fmt: skip
    """The solver's plan of the least cost along the axis, and those at a few budgets from there to the original."""
    found = [solver.solve(tables.problem({"damage": most}, {axis: 1.0, "damage": 1e-6}, units))[0]]
    rest = dict.fromkeys((each for each in AXES[1:] if each != axis), 1e-3)
    for limit in np.linspace(found[0].costs[axis], units[axis], STEPS + 1)[1:-1]:
        limits: dict[Axis, float] = {"damage": most, axis: float(limit)}
        found.append(solver.solve(tables.problem(limits, {"damage": 1.0, **rest}, units))[0])
    return found


def _few(solutions: Sequence[Solution], units: dict[Axis, float]) -> list[Solution]:
    """One after the other the plan that is nearest to another goes; the ends stay."""
    left = list(solutions)
    while len(left) > SHOWN - 1:
        points = [np.array([each.costs.get(axis, 0.0) / units[axis] for axis in AXES]) for each in left]
        gaps = [float(np.linalg.norm(a - b)) for a, b in pairwise(points)]
        inner = range(1, len(left) - 1)
        del left[min(inner, key=lambda place: min(gaps[place - 1], gaps[place]))]
    return left
