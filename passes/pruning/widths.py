"""Which widths a dimension may be cut to: multiples that the target runs well.

    kept units · rows a unit ≡ 0   (mod the target's width multiple)

A dimension too narrow for two such multiples uses the largest half, quarter, … of it that fits twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from compressor.graph.dimensions.groups import Dimension

__all__ = ["Ladder", "ladder"]


@dataclass(frozen=True)
class Ladder:
    """How many units of a dimension may go, ascending, from none to the most."""

    dimension: Dimension
    order: tuple[int, ...]  # units, the least important first
    rungs: tuple[int, ...]

    def units(self, rung: int) -> tuple[int, ...]:
        """The units that go at a rung."""
        return self.order[: self.rungs[rung]]

    def nearest(self, share: float) -> int:
        """The rung whose number of removed units is nearest to a share of all."""
        wanted = share * len(self.order)
        return min(range(len(self.rungs)), key=lambda rung: (abs(self.rungs[rung] - wanted), rung))


def ladder(dimension: Dimension, scores: dict[int, float], multiple: int, floor: float) -> Ladder:
    """The widths of a dimension of which at least a share `floor` stays, and at least one unit."""
    count = len(dimension.units)
    order = tuple(sorted(dimension.units, key=lambda atom: (scores.get(atom, 0.0), atom)))
    step = multiple // math.gcd(multiple, dimension.rows)
    while step > 1 and count < 2 * step:
        step //= 2
    least = max(1, math.ceil(floor * count))
    kept = [size for size in range(count - 1, 0, -1) if size % step == 0 and size >= least]
    return Ladder(dimension, order, (0, *(count - size for size in kept)))
