"""Which rank each layer gets, so that together they hold a share of their weights: the least damage per cost saved.

    next step = argmin over lower ranks (damage(after) − damage(before)) / (cost(before) − cost(after))

The steps of one layer are the lower convex hull of damage against cost, so taking the cheapest steps of all layers in
order is the best there is for each total (Fox, 1966). A rank that costs more than a higher one is never taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Rung", "allocate"]


@dataclass(frozen=True)
class Rung:
    """One rank of a layer (0: as it is) with its cost (milliseconds or bytes), its weights and its damage."""

    rank: int
    cost: float
    weights: int
    damage: float


def allocate(ladders: Mapping[str, Sequence[Rung]], target: float) -> dict[str, Rung]:
    """A rung for each layer, with at most `target` weights together where the ladders go so far.

    Each ladder begins with the layer as it is.
    """
    found = {name: ladder[0] for name, ladder in ladders.items()}
    total = sum(rung.weights for rung in found.values())
    steps = [(slope, name, rung) for name, ladder in ladders.items() for slope, rung in _hull(ladder)]
    for _, name, rung in sorted(steps, key=lambda step: step[0]):
        if total <= target:
            break
        total += rung.weights - found[name].weights
        found[name] = rung
    return found


def _hull(ladder: Sequence[Rung]) -> list[tuple[float, Rung]]:
    """The rungs that are worth going to, one after the other, each with its damage per cost saved."""
    found: list[tuple[float, Rung]] = []
    current = ladder[0]
    while True:
        lower = [rung for rung in ladder if rung.cost < current.cost and rung.weights < current.weights]
        if not lower:
            return found
        slopes = [((rung.damage - current.damage) / (current.cost - rung.cost), rung.cost, rung) for rung in lower]
        slope, _, current = min(slopes, key=lambda step: step[:2])
        found.append((slope, current))
