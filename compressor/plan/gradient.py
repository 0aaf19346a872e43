"""The gradient solver: a mask a site, trained under the ℓ1/ℓ2 surrogate of what it keeps.

    kept(a) = (‖a‖₁ / ‖a‖₂)²  ∈ [1, d]         k for a mask of k ones, whatever its scale
    cost    = tables interpolated at kept(a) − 1, for all sites of a term at once
    min  objective + Σ_a λ_a · max(cost_a / limit_a − 1, 0),     λ_a grows while a budget is broken, and falls

A site's options are ordered by what the budgets say they cost, and a mask has an entry for each. The published form is
√d·‖a‖₁/‖a‖₂, which counts d right and fewer too many (√(d·k) for k ones); its square, over d, is right for all.
(Lau et al. in methods that mask every compressible unit; Hoyer, 2004, for the ratio as a measure of sparseness.)
The cost of a step grows with the number of table entries, whatever the number of plans.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compressor.plan.local import improved
from compressor.plan.problem import AXES, Axis, Picks, Problem, Solution, Term

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Gradient", "kept"]

RATE = 0.05  # of Adam
GROWTH = 0.05  # of a budget's multiplier each step, by its overrun; it falls where there is room
EVERY = 10  # steps from one cut to the next: the last is seldom the best
BEST = 5  # cuts of a start that are improved


@dataclass(frozen=True)
class Gradient:
    """`steps` of Adam from several starts, then what single changes still gain."""

    steps: int = 300
    starts: int = 3
    seed: int = 0

    def solve(self, problem: Problem, count: int = 1, apart: int = 1) -> list[Solution]:
        """The best plans found from each start; each differs from all before it in `apart` sites at least."""
        relaxed = _Relaxed(problem)
        found: list[Solution] = []
        for start in range(max(self.starts, count)):
            cuts = sorted(relaxed.train(self.steps, self.seed + start), key=lambda s: s.rank)
            found += [problem.solution(improved(problem, each.picks)) for each in cuts[:BEST]]
        ordered = sorted(found, key=lambda s: s.rank)
        taken: list[Solution] = []
        for each in ordered:
            if all(sum(a != b for a, b in zip(each.picks, t.picks, strict=True)) >= apart for t in taken):
                taken.append(each)
        return taken[:count]


def kept(mask: Tensor) -> Tensor:
    """How many of the entries along the last dimension count: (‖a‖₁/‖a‖₂)²."""
    return mask.abs().sum(-1) ** 2 / (mask**2).sum(-1).clamp_min(1e-30)


class _Relaxed:
    """The problem on positions between options: tables with the options in order, those of as many sites together."""

    def __init__(self, problem: Problem) -> None:
        import torch

        self.problem = problem
        self.order = [self._order(site) for site in range(len(problem.sites))]
        self.most = max((len(order) for order in self.order), default=1)
        self.lengths = torch.tensor([len(order) for order in self.order])
        self.groups = self._grouped()
        self.fixed = {
            axis: sum(float(t.table) for t in problem.terms if t.axis == axis and not t.scope) for axis in AXES
        }
        weights = {axis: w / problem.units.get(axis, 1.0) for axis, w in problem.weights.items()}
        largest = sum(
            abs(w) * sum(float(abs(t.table).max()) for t in problem.terms if t.axis == axis)
            for axis, w in weights.items()
        )
        self.weights = {axis: w / max(largest, 1e-30) for axis, w in weights.items()}  # multipliers weigh against 1

    def _order(self, site: int) -> list[int]:
        """The options by what they cost along the bounded axes, the smallest first."""
        total = np.zeros(len(self.problem.sites[site].options))
        for term in self.problem.terms:
            if site in term.scope and term.axis in self.problem.limits:
                others = tuple(i for i, each in enumerate(term.scope) if each != site)
                total += term.table.max(axis=others) / self.problem.limits[term.axis]
        return [int(each) for each in np.argsort(total, kind="stable")]

    def _grouped(self) -> list[tuple[Axis, Tensor, Tensor]]:
        """For each axis and number of sites: the scopes [terms, sites], and tables [terms, most, …, most]."""
        import torch

        found: dict[tuple[Axis, int], list[Term]] = defaultdict(list)
        for term in self.problem.terms:
            if term.axis in self.problem.axes and term.scope:
                found[term.axis, len(term.scope)].append(term)
        groups = []
        for (axis, arity), terms in found.items():
            tables = torch.zeros((len(terms), *[self.most] * arity))
            for place, term in zip(tables, terms, strict=True):
                ordered = term.table[np.ix_(*(self.order[site] for site in term.scope))]
                place[tuple(slice(size) for size in ordered.shape)] = torch.from_numpy(ordered)
            groups.append((axis, torch.tensor([term.scope for term in terms]), tables))
        return groups

    def train(self, steps: int, seed: int) -> list[Solution]:
        """From masks that keep nearly everything; what they were cut to along the way."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        valid = torch.arange(self.most)[None] < self.lengths[:, None]
        mask = (1.0 + 0.2 * torch.rand(len(self.order), self.most, generator=generator)).requires_grad_(True)
        optimizer = torch.optim.Adam([mask], lr=RATE)
        multipliers = dict.fromkeys(self.problem.limits, 0.0)
        found: dict[Picks, None] = {}
        for step in range(steps):
            costs = self._costs((kept(mask * valid) - 1.0).clamp_min(0.0))
            loss = torch.stack([weight * costs[axis] for axis, weight in self.weights.items()]).sum()
            for axis, limit in self.problem.limits.items():
                over = costs[axis] / limit - 1.0
                multipliers[axis] = max(multipliers[axis] + GROWTH * over.item(), 0.0)
                loss = loss + multipliers[axis] * over
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % EVERY == EVERY - 1 or step + 1 == steps:
                found[self._cut((mask * valid).detach())] = None
        return [self.problem.solution(picks) for picks in found]

    def _costs(self, positions: Tensor) -> dict[Axis, Tensor]:
        import torch

        low = torch.minimum(positions.detach().floor().long(), (self.lengths - 2).clamp_min(0))
        share = positions - low
        totals = {axis: torch.tensor(self.fixed[axis]) for axis in self.problem.axes}
        for axis, scopes, tables in self.groups:
            value = tables
            rows = torch.arange(len(scopes))
            for site in scopes.T:  # the first of the dimensions that are left goes at each turn
                here, ahead = value[rows, low[site]], value[rows, (low[site] + 1).clamp_max(self.most - 1)]
                value = here + share[site].reshape(-1, *[1] * (here.dim() - 1)) * (ahead - here)
            totals[axis] = totals[axis] + value.sum()
        return totals

    def _cut(self, mask: Tensor) -> Picks:
        """The options whose count the masks have, rounded."""
        counts = kept(mask).round().long().clamp_min(1)
        return tuple(order[min(int(n), len(order)) - 1] for order, n in zip(self.order, counts, strict=True))
