"""A works-when check: arms that are run alike for several seeds, and what must hold between their figures.

    ratio    mean(better) / mean(than) ≤ bound          points    mean(better) − mean(than) ≥ bound

An advantage (a ratio below 1, points above 0) holds only where the mean gap exceeds two standard errors, paired by
seed, of two seeds or more; a tie (a ratio from 1 on, points up to 0) needs no such gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Arm", "Claim", "Figures", "Goal", "Verdict", "judged"]

Figures = Mapping[str, float]
Arm = Callable[[int], Figures]  # from a seed


@dataclass(frozen=True)
class Goal:
    """What must hold. `better` and `than` are written arm.figure; a `than` that is a number is that number."""

    says: str
    better: str
    than: str
    kind: Literal["ratio", "points"]
    bound: float


@dataclass(frozen=True)
class Claim:
    """One method's check: `says` what was shrunk, and from what, to fit the time."""

    name: str
    says: str
    arms: Mapping[str, Arm]
    goals: Sequence[Goal]


@dataclass(frozen=True)
class Verdict:
    """A goal with what was measured: the ratio or the points, their standard error, and whether it holds."""

    goal: Goal
    value: float
    error: float
    holds: bool


def judged(goal: Goal, figures: Callable[[str], Mapping[int, float]]) -> Verdict | None:
    """The verdict on what `figures` has of arm.figure, by seed; None where a seed is missing, or an advantage has one
    seed alone."""
    mine = figures(goal.better)
    others = dict.fromkeys(mine, float(goal.than)) if _is_number(goal.than) else figures(goal.than)
    claims = goal.bound < 1 if goal.kind == "ratio" else goal.bound > 0
    if mine.keys() != others.keys() or len(mine) < (2 if claims else 1):
        return None
    better, than = [mine[seed] for seed in mine], [others[seed] for seed in mine]
    mean, other = sum(better) / len(better), sum(than) / len(than)
    gaps = [a - b for a, b in zip(better, than, strict=True)]
    gap = sum(gaps) / len(gaps)
    error = math.sqrt(sum((g - gap) ** 2 for g in gaps) / max(len(gaps) - 1, 1) / len(gaps))
    if goal.kind == "ratio":
        value, sure = mean / other, not claims or -gap > 2 * error
        return Verdict(goal, value, error / other, value <= goal.bound and sure)
    sure = not claims or gap > 2 * error
    return Verdict(goal, gap, error, gap >= goal.bound and sure)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
