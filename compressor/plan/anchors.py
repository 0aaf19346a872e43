"""How far the tables are off, told by a few plans that are built as wholes: the same ones for every board.

    t(c) = t · (said(c) / t)^k        of time and bytes; k: the median over the anchors of ln(seen / t) / ln(said / t)
    damage(c) = k · said(c)           k: the median of seen / said
    interval: the largest factor that any anchor's cost is off by after that

Anchors are the plans of least damage at a few shares of the time on the even board (`even.py`). Which they are and what
they do is kept, so that another board prices them anew, and solves and runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from compressor.plan.front import AXES
from compressor.plan.planner import Built, Planner
from compressor.plan.problem import Axis, Picks
from compressor.plan.solvers import choose_solver
from compressor.plan.tables import Tables

__all__ = ["Trust", "anchors", "trust"]

SHARES = (0.85, 0.7, 0.55, 0.4, 0.25)  # of the time between the slowest and the fastest plan
NOTHING = 1e-6  # of the original's cost, that a plan saves: it tells nothing of how much


@dataclass(frozen=True)
class Trust:
    """What the tables' costs are to be multiplied with, and the factor that they are still off by, by axis."""

    base: Mapping[Axis, float]
    factors: Mapping[Axis, float]
    spread: Mapping[Axis, float]
    built: tuple[Built, ...] = ()

    def costs(self, said: Mapping[Axis, float]) -> dict[Axis, float]:
        """What a plan is thought to cost that the tables say this of."""
        return {
            axis: _scaled(value, self.base.get(axis, 0.0), self.factors.get(axis, 1.0)) for axis, value in said.items()
        }

    def told(self) -> str:
        """In a line."""
        parts = [f"{axis} ±{factor - 1:.0%}" for axis, factor in self.spread.items()]
        return f"{', '.join(parts)} where a plan was not built" if parts else "no plan was built"


def anchors(planner: Planner, most: float) -> list[Picks]:
    """Plans of `most` damage at the most, from the mildest on."""
    tables, shelf = planner.even, planner.swapper.shelf
    if not tables.sites:
        return []
    key = f"anchors {tables.digest()} {most} {SHARES}"
    known = shelf.recall(key, lambda said: [tuple(map(int, picks)) for picks in said])
    if known is None:
        known = _solved(tables, most)
        shelf.keep(key, [list(picks) for picks in known])
    return known


def _solved(tables: Tables, most: float) -> list[Picks]:
    free = tables.problem({}, {"latency": 1.0, "damage": 1e-6}, {})
    solver = choose_solver(free, rough=True).solver
    slow = free.costs((0,) * len(tables.sites))["latency"]
    fast = solver.solve(tables.problem({"damage": most}, {"latency": 1.0}, {}))[0].costs["latency"]
    limits = [fast + share * (slow - fast) for share in SHARES]
    found = [
        solver.solve(tables.problem({"damage": most, "latency": limit}, {"damage": 1.0, "size": 1e-12}, {}))[0].picks
        for limit in limits
    ]
    return [picks for picks in dict.fromkeys(found) if any(picks)]


def trust(planner: Planner, most: float) -> Trust:
    """What the anchors tell of the planner's tables."""
    problem = planner.weighed.problem({}, {}, {})
    base = problem.costs((0,) * len(problem.sites))
    built = tuple(
        planner.built(problem, problem.solution(picks))
        for picks in planner.context.progress.over(anchors(planner, most), "building plans")
    )
    factors: dict[Axis, float] = {}
    spread: dict[Axis, float] = {}
    for axis in AXES:
        own = [(each.solution.costs.get(axis, 0.0), each.costs.get(axis, 0.0)) for each in built]
        zero = base.get(axis, 0.0)
        if all(seen > 0 and said > 0 for said, seen in own) and (ratios := _ratios(own, zero)):
            factors[axis] = max(median(ratios), 0.0)
            spread[axis] = _spread(own, zero, factors[axis])
    return Trust(base, factors, spread, built)


def _ratios(pairs: Sequence[tuple[float, float]], base: float) -> list[float]:
    if base <= 0:
        return [seen / said for said, seen in pairs]
    return [math.log(seen / base) / math.log(said / base) for said, seen in pairs if abs(said / base - 1) > NOTHING]


def _scaled(said: float, base: float, factor: float) -> float:
    return float(base * (said / base) ** factor) if base > 0 else factor * said


def _spread(pairs: Sequence[tuple[float, float]], base: float, factor: float) -> float:
    """The largest factor between what was seen and what is thought."""
    thought = [(max(_scaled(said, base, factor), 1e-30), seen) for said, seen in pairs]
    return math.exp(max(abs(math.log(seen / one)) for one, seen in thought))
