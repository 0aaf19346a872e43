"""One option an item, so that the bytes fit a budget and the damage is least: the multiple-choice knapsack, exactly.

    min Σ damage(i, c_i)   subject to   Σ bytes(i, c_i) ≤ budget

The relaxation is solved by a greedy walk down each item's lower convex hull (Sinha, Zoltners: The multiple-choice
knapsack problem, 1979); it bounds from below what the items still to come can reach, so that of the partial choices
item by item only those stay that no other dominates and that could still beat the walk's own solution.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Choice", "choose"]

STATES = 20_000  # partial choices kept an item; beyond it the least damaging of each stretch of bytes stay


@dataclass(frozen=True)
class Choice:
    """An option's bytes and damage."""

    bytes: int
    damage: float


@dataclass(frozen=True)
class _State:
    bytes: int
    damage: float
    picks: tuple[int, ...]


@dataclass(frozen=True)
class _Step:
    """One item going from a point of its hull to the next smaller one: more damage, fewer bytes."""

    rate: float
    item: int
    bytes: int
    damage: float
    pick: int


def choose(items: Sequence[Sequence[Choice]], budget: int) -> list[int] | None:
    """The place of the option chosen for each item; None where even the smallest options exceed the budget."""
    hulls = [_hull(options) for options in items]
    steps = sorted((step for item, hull in enumerate(hulls) for step in _steps(item, items[item], hull)), key=_rate)
    walked = _walk(items, hulls, steps, budget)
    if walked is None:
        return None
    best = sum(items[item][pick].damage for item, pick in enumerate(walked))
    bounds = [_Bound(items, hulls, steps, item + 1) for item in range(len(items))]
    states = [_State(0, 0.0, ())]
    for options, bound in zip(items, bounds, strict=True):
        grown = [
            _State(state.bytes + option.bytes, state.damage + option.damage, (*state.picks, pick))
            for state in states
            for pick, option in enumerate(options)
            if state.bytes + option.bytes <= budget
        ]
        states = [s for s in _undominated(grown) if s.damage + bound.least(budget - s.bytes) < best]
    better = min(states, key=lambda state: state.damage, default=None)
    return walked if better is None else list(better.picks)


def _hull(options: Sequence[Choice]) -> list[int]:
    """Places of the options on the lower convex hull, the largest (and least damaging) first."""
    order = sorted(range(len(options)), key=lambda pick: (options[pick].damage, options[pick].bytes))
    hull: list[int] = []
    for pick in order:
        if hull and options[pick].bytes >= options[hull[-1]].bytes:
            continue
        while len(hull) > 1 and _slope(options, hull[-2], hull[-1]) >= _slope(options, hull[-1], pick):
            hull.pop()
        hull.append(pick)
    return hull


def _slope(options: Sequence[Choice], one: int, two: int) -> float:
    """Damage a byte saved, from one option to a smaller one."""
    return (options[two].damage - options[one].damage) / (options[one].bytes - options[two].bytes)


def _steps(item: int, options: Sequence[Choice], hull: Sequence[int]) -> list[_Step]:
    pairs = itertools.pairwise(hull)
    return [
        _Step(
            _slope(options, a, b), item, options[a].bytes - options[b].bytes, options[b].damage - options[a].damage, b
        )
        for a, b in pairs
    ]


def _rate(step: _Step) -> float:
    return step.rate


def _walk(
    items: Sequence[Sequence[Choice]], hulls: Sequence[Sequence[int]], steps: Sequence[_Step], budget: int
) -> list[int] | None:
    """From the least damage down the hulls, the cheapest step first, until it fits."""
    picks = [hull[0] for hull in hulls]
    total = sum(options[pick].bytes for options, pick in zip(items, picks, strict=True))
    for step in steps:
        if total <= budget:
            break
        picks[step.item] = step.pick
        total -= step.bytes
    return picks if total <= budget else None


class _Bound:
    """The least damage that the items from `first` on can have together within some bytes, options divisible."""

    def __init__(
        self, items: Sequence[Sequence[Choice]], hulls: Sequence[Sequence[int]], steps: Sequence[_Step], first: int
    ) -> None:
        tops = [items[item][hulls[item][0]] for item in range(first, len(items))]
        self.bytes, self.damage = sum(top.bytes for top in tops), sum(top.damage for top in tops)
        self.steps = [step for step in steps if step.item >= first]

    def least(self, room: int) -> float:
        """Infinite where they cannot fit."""
        over, damage = self.bytes - room, self.damage
        for step in self.steps:
            if over <= 0:
                break
            damage += step.damage * min(1.0, over / step.bytes)
            over -= step.bytes
        return damage if over <= 0 else float("inf")


def _undominated(states: Sequence[_State]) -> list[_State]:
    """By bytes, those less damaging than every smaller one; of too many, the least damaging of each stretch."""
    found: list[_State] = []
    for state in sorted(states, key=lambda state: (state.bytes, state.damage)):
        if not found or state.damage < found[-1].damage:
            found.append(state)
    stride = -(-len(found) // STATES)
    return found[::-1][:: max(stride, 1)][::-1]
