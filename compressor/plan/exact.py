"""The exact solver: the choice as a mixed-integer program, solved by HiGHS.

    min  Σ_a w_a/unit_a · Σ_t Σ_k table_t[k] · z_t[k]
    s.t. Σ_o x_s,o = 1                       one option a site, x binary
         Σ_{k: k_i = o} z_t[k] = x_s,o       for each site s of a term's scope that has several, 0 ≤ z ≤ 1
         Σ_t Σ_k table_t[k] · z_t[k] ≤ limit_a
         Σ_s x_s,c(s) ≤ S − d                for each plan c that was found before: the next differs in d sites

(Bercovich et al., 2024, Puzzle, arXiv:2411.19146; the terms' equations are those of the local polytope: Wainwright,
Jordan, 2008.) A term of one site needs no z of its own. Budgets that cannot be met are passed by as little as can be,
in the sum of what each is passed by, of itself; but for the damage, which doing nothing keeps within any limit.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compressor.plan.problem import Axis, Floats, Picks, Problem, Solution

__all__ = ["ROUGH", "Exact"]

GAP = 1e-6  # of the objective, between what was found and what is proven
ROUGH = 1e-2  # the same of one plan among many
ROOM = 1e-6  # of a limit, that a second program gets beyond the least overrun


@dataclass(frozen=True)
class Exact:
    """`seconds` bound each program; what is best by then is taken, and is not `proven`. A plan may be worse than the
    best by `gap` of the objective."""

    seconds: float = 60.0
    gap: float = GAP

    def solve(self, problem: Problem, count: int = 1, apart: int = 1) -> list[Solution]:
        """The best plans, the best first; each differs from all before it in `apart` sites at least.

        Fewer than `count` where there are no more. Where budgets cannot be met, the closest one alone.
        """
        found: list[Solution] = []
        program = _Program(problem, self.gap)
        while len(found) < count:
            solution = program.best(self.seconds, [each.picks for each in found], apart)
            if solution is None and not found:
                return [program.closest(self.seconds)]
            if solution is None:
                break
            found.append(solution)
        return found


class _Program:
    """The matrices; columns are the options of all sites, then the entries of all terms that see several sites."""

    def __init__(self, problem: Problem, gap: float) -> None:
        self.problem, self.gap = problem, gap
        counts = [len(site.options) for site in problem.sites]
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self.binary = int(self.first[-1])
        self.width = self.binary
        self.cost: dict[Axis, Floats] = {}
        self.constant: dict[Axis, float] = {}
        self.rows: list[tuple[Floats, Floats]] = []  # columns and coefficients; each sums to nothing
        self.starts: dict[tuple[int, ...], int] = {}
        self._place()

    def _place(self) -> None:
        entries: dict[Axis, list[tuple[int, Floats]]] = {}
        for term in self.problem.terms:
            if not term.scope:
                self.constant[term.axis] = self.constant.get(term.axis, 0.0) + float(term.table)
                continue
            entries.setdefault(term.axis, []).append((self._start(term.scope, term.table.shape), term.table.ravel()))
        for axis, parts in entries.items():
            self.cost[axis] = np.zeros(self.width)
            for start, values in parts:
                self.cost[axis][start : start + len(values)] += values

    def _start(self, scope: tuple[int, ...], shape: tuple[int, ...]) -> int:
        """The first column of a term; terms of the same sites share theirs."""
        if len(scope) == 1:
            return int(self.first[scope[0]])
        if scope not in self.starts:
            start, size = self.width, int(np.prod(shape))
            self.starts[scope], self.width = start, self.width + size
            place = start + np.arange(size).reshape(shape)
            for dimension, site in enumerate(scope):
                for option in range(shape[dimension]):
                    seen = np.take(place, option, axis=dimension).ravel()
                    columns = np.append(seen, self.first[site] + option)
                    self.rows.append((columns, np.append(np.ones(len(seen)), -1.0)))
        return self.starts[scope]

    def best(self, seconds: float, before: Sequence[Picks], apart: int) -> Solution | None:
        """The least objective within the limits; None where nothing is within them."""
        rooms = dict.fromkeys(self.problem.limits, 0.0)
        return self._solve(self._weighted(), rooms, seconds, before, apart)

    def closest(self, seconds: float) -> Solution:
        """The least overrun, and with that the least objective."""
        free: dict[Axis, float | None] = dict.fromkeys(self.problem.limits)
        first = self._solve(None, {**free, **({"damage": 0.0} if "damage" in free else {})}, seconds, (), 0)
        if first is None:
            first = self._solve(None, free, seconds, (), 0)
        if first is None:
            raise RuntimeError("the solver found no plan at all")
        rooms = {axis: first.overruns.get(axis, 0.0) + ROOM for axis in self.problem.limits}
        second = self._solve(self._weighted(), rooms, seconds, (), 0)
        return first if second is None else second

    def _weighted(self) -> Floats:
        total = np.zeros(self.width)
        for axis, weight in self.problem.weights.items():
            if axis in self.cost:
                total += weight / self.problem.units.get(axis, 1.0) * self.cost[axis]
        return total

    def _solve(
        self, objective: Floats | None, rooms: dict[Axis, Any], seconds: float, before: Sequence[Picks], apart: int
    ) -> Solution | None:
        """`rooms` are what limits may be passed by; None makes that a variable, which is minimized."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        slack = [axis for axis, room in rooms.items() if room is None]
        columns = self.width + len(slack)
        goal = np.zeros(columns)
        goal[: self.width] = 0.0 if objective is None else objective
        goal[self.width :] = 1.0
        lines, low, high = self._equations(before, apart)
        for axis, room in rooms.items():
            limit = self.problem.limits[axis]
            cost = self.cost.get(axis, np.zeros(self.width))
            used = np.flatnonzero(cost)
            places, values = used, cost[used] / limit
            if room is None:
                places, values = np.append(places, self.width + slack.index(axis)), np.append(values, -1.0)
            lines.append((places, values))
            low.append(-np.inf)
            high.append(1.0 + (room or 0.0) - self.constant.get(axis, 0.0) / limit)
        entry = np.repeat(np.arange(len(lines)), [len(places) for places, _ in lines])
        places, values = (np.concatenate([line[part] for line in lines]) for part in (0, 1))
        matrix = coo_array((values, (entry, places.astype(int))), shape=(len(lines), columns))
        kinds = np.zeros(columns)
        kinds[: self.binary] = 1
        upper = np.ones(columns)
        upper[self.width :] = np.inf
        with _silent():
            result = milp(
                goal, integrality=kinds, bounds=Bounds(np.zeros(columns), upper),
                constraints=LinearConstraint(matrix.tocsr(), np.array(low), np.array(high)),
                options={"time_limit": seconds, "mip_rel_gap": self.gap},
            )  # fmt: skip
        if result.x is None:
            return None
        return self._read(result.x, proven=result.status == 0)

    def _equations(self, before: Sequence[Picks], apart: int) -> tuple[list[tuple[Any, Any]], list[float], list[float]]:
        """One option a site, the terms' entries, and the distance from plans that were found before."""
        lines: list[tuple[Any, Any]] = []
        low: list[float] = []
        high: list[float] = []
        for index in range(len(self.problem.sites)):
            places = np.arange(self.first[index], self.first[index + 1])
            lines.append((places, np.ones(len(places))))
            low.append(1.0)
            high.append(1.0)
        for columns, values in self.rows:
            lines.append((columns, values))
            low.append(0.0)
            high.append(0.0)
        for picks in before:
            lines.append((self.first[:-1] + np.array(picks), np.ones(len(picks))))
            low.append(-np.inf)
            high.append(len(picks) - apart)
        return lines, low, high

    def _read(self, values: Floats, *, proven: bool) -> Solution:
        picks = [
            int(np.argmax(values[self.first[i] : self.first[i + 1]])) for i in range(len(self.problem.sites))
        ]  # fmt: skip
        return replace(self.problem.solution(picks), proven=proven)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what HiGHS prints whatever it is told: standard output carries results."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
