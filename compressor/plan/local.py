"""Better plans nearby: one site after the other takes the option that is best beside all the others.

What the evolutionary and the gradient solver end with is improved so; a plan that no single change improves stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from compressor.plan.problem import Axis, Floats, Picks, Problem, Term, passed

__all__ = ["improved"]

SWEEPS = 50


def improved(problem: Problem, picks: Sequence[int]) -> Picks:
    """The plan that single changes lead to, from first to last site until none helps."""
    near: dict[int, list[Term]] = defaultdict(list)
    for term in problem.terms:
        if term.axis in problem.axes:
            for site in set(term.scope):
                near[site].append(term)
    plan = list(picks)
    costs = problem.costs(plan)
    for _ in range(SWEEPS):
        before = list(plan)
        for site in range(len(problem.sites)):
            _settle(problem, plan, costs, site, near[site])
        if plan == before:
            break
    return tuple(plan)


def _settle(problem: Problem, plan: list[int], costs: dict[Axis, float], site: int, terms: Sequence[Term]) -> None:
    """Give one site its best option, and bring the costs along."""
    along: dict[Axis, Floats] = {}
    for term in terms:
        values = term.table[tuple(slice(None) if index == site else plan[index] for index in term.scope)]
        along[term.axis] = along.get(term.axis, np.zeros(len(values))) + values
    now = plan[site]
    rest = {axis: costs[axis] - values[now] for axis, values in along.items()}

    def rank(option: int) -> tuple[float, float]:
        total = {**costs, **{axis: rest[axis] + float(values[option]) for axis, values in along.items()}}
        return passed(problem.overruns(total)), problem.objective(total)

    best = min(range(len(problem.sites[site].options)), key=lambda option: (*rank(option), option != now))
    if best != now and rank(best) < rank(now):
        plan[site] = best
        for axis, values in along.items():
            costs[axis] = rest[axis] + float(values[best])
