"""The planner's question in numbers: one option a site, so that budgets hold and the rest costs least.

    min Σ_a w_a · cost_a(c) / unit_a        subject to   cost_a(c) ≤ limit_a       for every budget a
    cost_a(c) = Σ_t table_t[c_i for i in scope_t]

A term is what one part of the network costs, by the options of all sites that it sees: a layer's time depends on how
many channels come in, how many go out, and the bits of its weights, and a sum over these three would lie. Most terms
see one site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["AXES", "FIRST", "Axis", "Floats", "Picks", "Problem", "Site", "Solution", "Term", "passed"]

Axis = Literal["damage", "latency", "size", "memory", "energy"]
AXES: tuple[Axis, ...] = ("damage", "latency", "size", "memory", "energy")
Picks = tuple[int, ...]  # the place of the option chosen at every site
Floats = NDArray[np.float64]
FIRST = 1000.0  # times that damage over its limit weighs what another axis does
TOLERANCE = 1e-6  # by which a limit may be passed, of the limit: the tolerance of the programs that are solved


@dataclass(frozen=True)
class Site:
    """Where something may be done, and its options by name."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Term:
    """A part of one axis' cost; `table` has a dimension for each site of `scope`, as long as the site has options."""

    axis: Axis
    scope: tuple[int, ...]
    table: Floats


@dataclass(frozen=True)
class Problem:
    """`limits` are upper bounds; `weights` are what is minimized, in multiples of `units` (1 where none is given)."""

    sites: tuple[Site, ...]
    terms: tuple[Term, ...]
    limits: Mapping[Axis, float] = field(default_factory=dict)
    weights: Mapping[Axis, float] = field(default_factory=lambda: {"damage": 1.0})
    units: Mapping[Axis, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for a table that does not fit its scope, and for costs that are no numbers."""
        for term in self.terms:
            shape = tuple(len(self.sites[index].options) for index in term.scope)
            if term.table.shape != shape:
                raise ValueError(f"a table of {term.table.shape} for options {shape}: {term.axis} of {term.scope}")
            if not np.isfinite(term.table).all():
                raise ValueError(f"{term.axis} of {[self.sites[i].name for i in term.scope]} is no number")

    @property
    def space(self) -> float:
        """How many plans there are; infinite beyond what a float holds."""
        with np.errstate(over="ignore"):
            return float(np.exp(sum(np.log(len(site.options)) for site in self.sites)))

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Those that are bounded or minimized, in their order."""
        return tuple(axis for axis in AXES if axis in self.limits or self.weights.get(axis))

    def costs(self, picks: Sequence[int]) -> dict[Axis, float]:
        """Of one plan, along all axes that have terms."""
        found: dict[Axis, float] = {}
        for term in self.terms:
            value = float(term.table[tuple(picks[index] for index in term.scope)])
            found[term.axis] = found.get(term.axis, 0.0) + value
        return found

    def costs_of(self, plans: NDArray[np.int64], axes: Sequence[Axis] = AXES) -> Floats:
        """Of many plans, a row each; a column for each axis."""
        columns = {axis: np.zeros(len(plans)) for axis in axes}
        for term in self.terms:
            if term.axis in columns:
                columns[term.axis] += term.table[tuple(plans[:, index] for index in term.scope)]
        return np.stack([columns[axis] for axis in axes], axis=1) if axes else np.zeros((len(plans), 0))

    def objective(self, costs: Mapping[Axis, float]) -> float:
        """What is minimized."""
        return sum(weight * costs.get(axis, 0.0) / self.units.get(axis, 1.0) for axis, weight in self.weights.items())

    def overruns(self, costs: Mapping[Axis, float]) -> dict[Axis, float]:
        """By how much of its limit each broken budget is passed."""
        over = {axis: costs.get(axis, 0.0) / limit - 1.0 for axis, limit in self.limits.items()}
        return {axis: value for axis, value in over.items() if value > TOLERANCE}

    def solution(self, picks: Sequence[int], **told: Any) -> Solution:
        """The plan with all that it costs."""
        costs = self.costs(picks)
        return Solution(tuple(int(p) for p in picks), costs, self.objective(costs), self.overruns(costs), **told)


def passed(overruns: Mapping[Axis, float]) -> float:
    """All overruns as one number: a limit of damage is kept before others are, since doing nothing keeps it."""
    return sum(FIRST * over if axis == "damage" else over for axis, over in overruns.items())


@dataclass(frozen=True)
class Solution:
    """A plan: picks, costs, what was minimized, and the budgets that it breaks. `proven`: none is better."""

    picks: Picks
    costs: Mapping[Axis, float]
    objective: float
    overruns: Mapping[Axis, float] = field(default_factory=dict)
    proven: bool = False

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better: first what the budgets are passed by, then the objective."""
        return (passed(self.overruns), self.objective)
