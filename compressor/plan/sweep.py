"""Plans of weighted sums, the mildest first: what many budgets ask for in the time that an exact answer to one takes.

    min damage(c) + λ · cost(c)       λ from little to much; single changes from the best plans of the last λ, and for
                                      every third λ from those that have one level wherever it is offered

What pays beside its like alone (bits) is out of reach of single changes from a plan that has none of it. Nothing is
proven; `tests` hold the plans to the exact solver's: at most 1.5 times the damage, and 0.001.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from compressor.plan.local import improved
from compressor.plan.problem import Axis, Picks, Problem, Solution

__all__ = ["sweep"]

WEIGHTS = np.geomspace(1e-5, 10.0, 16)  # of all the cost, beside a damage of 1
AGAIN = 3  # weights from one start with uniform levels to the next
KEPT = 3  # plans that the next weight starts from
REST = 1e-3  # weight of what is not swept along


def sweep(problem: Problem, axis: Axis, units: Mapping[Axis, float]) -> list[Solution]:
    """Plans within the problem's limits that cost less and less along the axis; `units` are the original's costs."""
    uniform, latest, found = _uniform(problem), list[Picks](), dict[Picks, Solution]()
    others = {other: REST for other in units if other not in (axis, "damage")}
    for number, weight in enumerate(WEIGHTS):
        asked = replace(
            problem, weights={"damage": 1.0, axis: float(weight), **others}, units={**units, "damage": 1.0}
        )  # fmt: skip
        plans = {improved(asked, start) for start in (*(() if number % AGAIN else uniform), *latest)}
        solutions = sorted((asked.solution(plan) for plan in plans), key=lambda each: each.rank)
        found |= {each.picks: problem.solution(each.picks) for each in solutions}
        latest = [each.picks for each in solutions[:KEPT]]
    return list(found.values())


def _uniform(problem: Problem) -> list[Picks]:
    """The original, and every level at all sites that offer it."""
    offered = Counter(level for site in problem.sites for level in site.options[1:])
    levels = sorted(level for level, count in offered.items() if count > 1)
    plans = [(0,) * len(problem.sites)]
    for level in levels:
        plans.append(tuple(s.options.index(level) if level in s.options[1:] else 0 for s in problem.sites))
    return plans
