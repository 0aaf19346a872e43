"""The evolutionary solver: NSGA-II, on the tables or on light predictors of what was measured.

    rank:     a dominates b where it breaks budgets less, or as little and is no worse along any axis and better on one
    survive:  by rank, then by crowding distance (the gap to the neighbours along each axis, of its span)
    LINAS:    measure a few plans → fit ŷ = β₀·table + one-hot(plan)·β (ridge) → NSGA-II on ŷ → measure its best → again

(Deb et al., 2002, NSGA-II; Sarah et al., 2022, LINAS, arXiv:2205.10358, as in SimQ-NAS, arXiv:2312.13301.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from compressor.plan.local import improved
from compressor.plan.problem import FIRST, Axis, Floats, Picks, Problem, Solution

__all__ = ["Evolutionary", "Measure", "Predictor", "hypervolume", "undominated"]

Measure = Callable[[Picks], Mapping[Axis, float]]
Plans = NDArray[np.int64]
RIDGE = 0.1  # of the one-hot weights; the table's own has none
CROSSOVER = 0.6


@dataclass(frozen=True)
class Evolutionary:
    """With `measure`, the true costs of a plan, `rounds` of `each` measurements lead; the tables alone without it.

    `told` is called with every measured plan; `starts` are plans to begin with. When the time is `over`, what was
    measured until then is all.
    """

    population: int = 50
    generations: int = 100
    seed: int = 0
    measure: Measure | None = None
    rounds: int = 5
    each: int = 10
    told: Callable[[Solution], None] = field(default=lambda _: None)
    starts: tuple[Picks, ...] = ()
    over: Callable[[], bool] = field(default=lambda: False)

    def solve(self, problem: Problem, count: int = 1, apart: int = 1) -> list[Solution]:
        """The best plans, the best first; each differs from all before it in `apart` sites at least. Where budgets
        cannot be met, the closest come first."""
        found = self._measured(problem) if self.measure is not None else self._searched(problem)
        return _spread(sorted(found, key=lambda s: s.rank), count, apart)

    def front(self, problem: Problem) -> list[Solution]:
        """The plans that no other found dominates."""
        found = self._measured(problem) if self.measure is not None else self._searched(problem)
        return undominated(found, problem.axes)

    def _searched(self, problem: Problem) -> list[Solution]:
        plans = _nsga2(problem, lambda plans: problem.costs_of(plans, problem.axes), self, self.seed, self.starts)
        best = min((problem.solution(plan) for plan in plans.tolist()), key=lambda s: s.rank)
        return [problem.solution(improved(problem, best.picks)), *map(problem.solution, plans.tolist())]

    def _measured(self, problem: Problem) -> list[Solution]:
        assert self.measure is not None
        axes, random = problem.axes, np.random.default_rng(self.seed)
        known: dict[Picks, Solution] = {}
        drawn = (tuple(plan) for plan in _starts(problem, random, self.each).tolist())
        wanted = list(dict.fromkeys([*self.starts, *drawn]))
        for number in range(self.rounds):
            for picks in wanted:
                if known and self.over():
                    return list(known.values())
                if picks not in known:
                    known[picks] = _solution(problem, picks, self.measure(picks))
                    self.told(known[picks])
            if number + 1 < self.rounds:
                predictor = Predictor(problem, list(known.values()), axes)
                plans = _nsga2(problem, predictor.costs, self, self.seed + number + 1, list(known))
                wanted = self._next(problem, plans, predictor.costs(plans), known)
        return list(known.values())

    def _next(self, problem: Problem, plans: Plans, costs: Floats, known: Mapping[Picks, Solution]) -> list[Picks]:
        """The plans to measure next: by rank and crowding, those that are not known."""
        order = _sorted(costs, _broken(problem, costs, problem.axes))
        fresh = [tuple(plans[index].tolist()) for index in order]
        return [picks for picks in dict.fromkeys(fresh) if picks not in known][: self.each]


class Costed(Protocol):
    """What has costs by axis."""

    @property
    def costs(self) -> Mapping[Axis, float]: ...


T = TypeVar("T", bound=Costed)


def undominated(solutions: Sequence[T], axes: Sequence[Axis]) -> list[T]:
    """Those that no other one is better than along one axis and no worse along all others; of equal ones the first."""
    unique = list({tuple(s.costs.get(axis, 0.0) for axis in axes): s for s in reversed(solutions)}.items())[::-1]
    if not unique:
        return []
    costs = np.array([key for key, _ in unique])
    worse = _dominated(costs, np.zeros(len(costs)))
    return [solution for (_, solution), others in zip(unique, worse.T, strict=True) if not others.any()]


def hypervolume(costs: Floats, reference: Floats) -> float:
    """The volume that points (a row each) dominate below a reference, exactly, by slices along the last axis."""
    inside = costs[(costs < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if costs.shape[1] == 1:
        return float(reference[0] - inside.min())
    total = 0.0
    levels = np.append(np.unique(inside[:, -1]), reference[-1])
    for low, high in itertools.pairwise(levels):
        slab = inside[inside[:, -1] <= low][:, :-1]
        total += hypervolume(slab, reference[:-1]) * float(high - low)
    return total


def _solution(problem: Problem, picks: Picks, costs: Mapping[Axis, float]) -> Solution:
    whole = {**problem.costs(picks), **costs}
    return replace(
        problem.solution(picks), costs=whole, objective=problem.objective(whole), overruns=problem.overruns(whole)
    )


def _spread(ordered: Sequence[Solution], count: int, apart: int) -> list[Solution]:
    taken: list[Solution] = []
    for each in ordered:
        if all(sum(a != b for a, b in zip(each.picks, t.picks, strict=True)) >= apart for t in taken):
            taken.append(each)
        if len(taken) == count:
            break
    return taken


class Predictor:
    """Costs along each axis from what was measured: the table's, scaled, and a correction for each option."""

    def __init__(self, problem: Problem, known: Sequence[Solution], axes: Sequence[Axis]) -> None:
        self.problem, self.axes = problem, axes
        plans = np.array([each.picks for each in known])
        rows = self._rows(plans)
        self.weights = []
        for column, axis in enumerate(axes):
            table = problem.costs_of(plans, axes)[:, column]
            truth = np.array([each.costs[axis] for each in known])
            scale = float(np.dot(table, truth) / max(np.dot(table, table), 1e-30))
            gram = rows.T @ rows + RIDGE * np.eye(rows.shape[1])
            self.weights.append((scale, np.linalg.solve(gram, rows.T @ (truth - scale * table))))

    def costs(self, plans: Plans) -> Floats:
        rows, table = self._rows(plans), self.problem.costs_of(plans, self.axes)
        columns = [scale * table[:, i] + rows @ weights for i, (scale, weights) in enumerate(self.weights)]
        return np.stack(columns, axis=1)

    def _rows(self, plans: Plans) -> Floats:
        """One-hot, and a one for what is common to all."""
        sizes = [len(site.options) for site in self.problem.sites]
        rows = np.zeros((len(plans), sum(sizes) + 1))
        rows[:, -1] = 1.0
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        np.put_along_axis(rows, plans + starts, 1.0, axis=1)
        return rows


def _nsga2(
    problem: Problem, costs: Callable[[Plans], Floats], how: Evolutionary, seed: int, known: Sequence[Picks] = ()
) -> Plans:
    """The last generation, the best first."""
    random = np.random.default_rng(seed)
    plans = _starts(problem, random, how.population)
    if known:
        plans = np.concatenate([plans, np.array(known)])
    sizes = np.array([len(site.options) for site in problem.sites])
    for _ in range(how.generations):
        plans = np.unique(np.concatenate([plans, _children(plans, sizes, how.population, random)]), axis=0)
        value = costs(plans)
        plans = plans[_sorted(value, _broken(problem, value, problem.axes))[: how.population]]
    return plans


def _starts(problem: Problem, random: np.random.Generator, count: int) -> Plans:
    """Plans of every severity: everything as it is, and others in which ever more sites change."""
    sizes = np.array([len(site.options) for site in problem.sites])
    plans = random.integers(0, sizes, size=(count, len(sizes)))
    stays = random.random((count, len(sizes))) > np.linspace(0, 1, count)[:, None]
    return np.where(stays, 0, plans)


def _children(plans: Plans, sizes: NDArray[np.int64], count: int, random: np.random.Generator) -> Plans:
    """Parents are in order of quality: of two drawn, the first wins. Crossed site by site, or one to a few sites
    changed."""
    drawn = np.sort(random.integers(0, len(plans), size=(2, count, 2)), axis=-1)[..., 0]
    first, second = plans[drawn[0]], plans[drawn[1]]
    crossed = random.random(count) < CROSSOVER
    mixed = np.where(random.random(first.shape) < 0.5, first, second)
    child = np.where(crossed[:, None], mixed, first)
    rate = np.where(crossed, 0.5, 2.0)[:, None] / len(sizes)
    fresh = random.integers(0, sizes, size=child.shape)
    return np.where(random.random(child.shape) < rate, fresh, child)


def _broken(problem: Problem, costs: Floats, axes: Sequence[Axis]) -> Floats:
    """By what the budgets are passed together, of each."""
    over = np.zeros(len(costs))
    for column, axis in enumerate(axes):
        if axis in problem.limits:
            over += (FIRST if axis == "damage" else 1.0) * np.maximum(
                costs[:, column] / problem.limits[axis] - 1.0, 0.0
            )
    return over


def _dominated(costs: Floats, broken: Floats) -> NDArray[np.bool_]:
    """[i, j]: whether i dominates j."""
    no_worse = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    less = broken[:, None] < broken[None]
    found: NDArray[np.bool_] = less | ((broken[:, None] == broken[None]) & no_worse & better)
    return found


def _sorted(costs: Floats, broken: Floats) -> NDArray[np.int64]:
    """Places of the plans by front, and in a front the loneliest first."""
    over = _dominated(costs, broken)
    left = over.sum(axis=0)
    order: list[int] = []
    while len(order) < len(costs):
        front = np.flatnonzero(left == 0)
        order += front[np.argsort(-_crowding(costs[front]), kind="stable")].tolist()
        left = left - over[front].sum(axis=0)
        left[front] = -1
    return np.array(order)


def _crowding(costs: Floats) -> Floats:
    """The gap between each point's neighbours, of the span, over all axes; infinite at the ends."""
    total = np.zeros(len(costs))
    for column in costs.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        total[order[[0, -1]]] = np.inf
        if span > 0 and len(order) > 2:
            total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return total
