"""What was tried, and the limits to try next: each plan's artifact was measured, and the next is planned by that.

An axis whose measured cost is over its budget gets a limit that is as much lower as the prediction was too low. A plan
that keeps its budgets and leaves some of the time gets a limit of time as much higher: less damage will do. Where an
earlier plan was over the budget, and this one leaves some of it, the limit is where the line through both meets the
budget: p₁ + (p₂ − p₁) · (1 − m₁) / (m₂ − m₁), p predicted and m measured, by the budget. Where the metric fell too far,
the damage allowed falls as much below that of the plan; where it did not, and the damage allowed was what kept the
budgets from being met, it rises; once both were seen, it is the geometric mean of the nearest two. What is to be as
little as the metric allows gets seven tenths of what a plan that kept everything has of it; once a plan failed, the
geometric mean of the two. Attempts are ranked by how far they break budgets, then by whether the metric fell too far,
then by what is left of what is to be little, last by what the metric lost and what the plan costs otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.held import Held
from compressor.judging import Artifact
from compressor.plan.planner import UNIT, Built, Plan
from compressor.plan.problem import Axis
from compressor.selecting import Selection
from compressor.starting import own_axis

__all__ = ["Attempt", "corrected"]

SPARE = 0.1  # of the time that a budget allows, left over: less is no other plan
LEAST, MOST = 0.05, 0.7  # of a plan's damage, that the next may do where the metric fell too far
WIDER, NEAR = 3.0, 1.2  # times the damage that was allowed, where the metric bore it; less more is no other plan
STEP = 0.7  # of what a plan that kept everything has, for the next
MARGIN = 0.01  # of a limit that is left when it is corrected


@dataclass(frozen=True)
class Attempt:
    """A plan, what was made of it, and by what share that breaks which budgets. `held` is its predicted time beside the
    measured one, `spare` the share of its time that the tightest budget of time leaves over, `lost` the share of the
    metric that the artifact falls by, `left` the shares of the original that are left of what is to be little, `told`
    the milliseconds of the original and of the plan that were predicted before it was carried out."""

    plan: Plan
    selection: Selection[Artifact] | None  # None of a dry run
    overruns: Mapping[Axis, float]
    allowed: float = 1.0  # of the metric's fall with everything that was planned, where that was too far
    held: Held | None = None
    spare: float = 0.0
    lost: float = 0.0
    share: float | None = None  # of the original's time, measured beside it
    least: frozenset[Axis] = frozenset()  # what is to be as little as the metric allows
    left: float = 0.0
    told: tuple[float, float] = (0.0, 0.0)

    @property
    def fell(self) -> bool:
        """Whether the metric fell too far with everything that was planned."""
        return self.selection is not None and self.selection.rejected is not None

    @property
    def short(self) -> dict[Axis, float]:
        """What the plan was predicted to be over its limits by, where no measurement has refuted that. A limit of what
        is to be little is a wish."""
        refuted = {"latency"} if self.held is not None and not self.overruns else set()
        return {
            axis: over
            for axis, over in self.plan.best.overruns.items()
            if axis not in refuted and axis not in self.least
        }

    @property
    def kept(self) -> bool:
        """Whether the metric and all budgets were kept."""
        return not self.fell and not self.overruns and not self.short

    @property
    def rank(self) -> tuple[float, bool, float, float]:
        """Less is better. What the metric lost stands for the damage that was thought to be left."""
        best = self.plan.best
        return sum(self.overruns.values()), self.fell, self.left, best.objective + (self.lost - best.damage) / UNIT


def corrected(limits: Mapping[Axis, float], attempts: Sequence[Attempt]) -> dict[Axis, float] | None:
    """The limits to plan again with; None where the budgets hold, or nothing is left to try."""
    found, latest = dict(limits), attempts[-1]
    best = latest.plan.best
    if latest.least and any(each.kept for each in attempts):
        return _further(limits, attempts)
    if latest.fell:
        short = [each.plan.best.damage for each in attempts if each.short and each.plan.best.damage < best.damage]
        least = math.sqrt(max(short) * best.damage) if short else 0.0  # a plan of less misses the budgets
        found["damage"] = max(best.damage * min(max(latest.allowed, LEAST), MOST), least)
    elif latest.short:  # the damage allowed stood in the way, and the metric bears more
        found["damage"] = _wider(limits, attempts)
        return found if found["damage"] > NEAR * limits["damage"] else None
    elif latest.overruns:
        for axis, over in latest.overruns.items():
            own = own_axis(axis)
            found[own] = min((1 - MARGIN) * _predicted(best)[own] / (1 + over), found.get(own, math.inf))
    elif "latency" in limits and latest.spare > SPARE:  # it may do less damage, and still keep the budget
        found["latency"] = max(_milder(attempts), limits["latency"])
    return found if found != limits else None


def _wider(limits: Mapping[Axis, float], attempts: Sequence[Attempt]) -> float:
    """More damage than was allowed, and less than fell too far."""
    fallen = [each.plan.best.damage for each in attempts if each.fell]
    return math.sqrt(limits["damage"] * min(fallen)) if fallen else WIDER * limits["damage"]


def _further(limits: Mapping[Axis, float], attempts: Sequence[Attempt]) -> dict[Axis, float] | None:
    """Lower limits of what is to be little, after a plan that kept everything; None where nothing is left to gain."""
    found, latest = dict(limits), attempts[-1]
    best = _predicted(min((each for each in attempts if each.kept), key=lambda each: each.rank).plan.best)
    for axis in latest.least:
        failed = [_predicted(each.plan.best)[axis] for each in attempts if not each.kept]
        below = [each for each in failed if each < best[axis]]
        found[axis] = math.sqrt(best[axis] * max(below)) if below else STEP * best[axis]
    if latest.kept and latest.least & set(latest.plan.best.overruns):  # the damage allowed stood in the way
        found["damage"] = max(_wider(limits, attempts), limits["damage"])
    return found if any(found[axis] < (1 - SPARE) * best[axis] for axis in latest.least) else None


def _milder(attempts: Sequence[Attempt]) -> float:
    """The limit of time for a plan as slow as the budget allows, after one that leaves some of it: where an earlier one
    was over it, in between; else as much above."""
    latest = attempts[-1]
    own, kept = _predicted(latest.plan.best)["latency"], 1 - latest.spare
    slower = [(_predicted(each.plan.best)["latency"], 1 + over) for each in attempts if (over := _late(each)) > 0]
    if slower:
        other, broken = min(slower)
        return own + (other - own) * (1 - MARGIN - kept) / (broken - kept)
    return (1 - MARGIN) * own / kept


def _late(attempt: Attempt) -> float:
    """By what share its time is over the tightest budget of time."""
    return max(attempt.overruns.get("latency", 0.0), attempt.overruns.get("energy", 0.0))


def _predicted(built: Built) -> dict[Axis, float]:
    return {"latency": built.parts.latency_ms, "size": built.parts.bytes, "memory": built.parts.memory}
