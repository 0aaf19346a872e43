"""Where to cut, so that a share of the multiply–accumulates goes.

    uniform   the same share of every dimension, the smallest that reaches the target (bisection)
    global    greedily the cut with the least damage per MAC saved
    latency   greedily the cut with the least damage per predicted millisecond saved

The greedy choices are lazy: what a cut saves only shrinks as its neighbours shrink, so an entry at the top of the heap
whose figure is still the best after an update is the best. A cut that saves nothing is not made.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.removal import Removal
from compressor.passes.pruning.units import UnitScores
from compressor.passes.pruning.widths import Ladder

__all__ = ["Allocation", "greedy", "uniform"]

STRIDES = 16  # greedy steps from the full width of a dimension to its least
BISECTIONS = 24
Cost = Callable[[Removal], float]


@dataclass(frozen=True)
class Allocation:
    """How far down its ladder each dimension goes."""

    dimensions: Dimensions
    ladders: Sequence[Ladder]
    rungs: tuple[int, ...]

    def removal(self) -> Removal:
        pairs = zip(self.ladders, self.rungs, strict=True)
        return Removal(self.dimensions, [unit for ladder, rung in pairs for unit in ladder.units(rung)])

    def at(self, place: int, rung: int) -> Allocation:
        """The same with one dimension on another rung."""
        rungs = (*self.rungs[:place], rung, *self.rungs[place + 1 :])
        return Allocation(self.dimensions, self.ladders, rungs)


def uniform(dimensions: Dimensions, ladders: Sequence[Ladder], target: float) -> Allocation:
    """At most `target` MACs left, by the same share everywhere."""

    def cut(share: float) -> Allocation:
        return Allocation(dimensions, ladders, tuple(ladder.nearest(share) for ladder in ladders))

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if cut(middle).removal().macs() <= target else (middle, high)
    return _refined(cut(high), target, 1)


def greedy(
    dimensions: Dimensions, ladders: Sequence[Ladder], target: float, scores: UnitScores, cost: Cost
) -> Allocation:
    """At most `target` MACs left, by the cuts with the least damage per `cost` saved."""
    state = Allocation(dimensions, ladders, (0,) * len(ladders))
    spent = cost(state.removal())
    heap: list[tuple[float, int, int]] = []
    for place in range(len(ladders)):
        _push(heap, state, place, spent, scores, cost)
    while heap and state.removal().macs() > target:
        _, place, _ = heapq.heappop(heap)
        entry = _entry(state, place, spent, scores, cost)
        if entry is None:
            continue
        if heap and entry[0] > heap[0][0]:
            heapq.heappush(heap, entry)
            continue
        state = state.at(place, entry[2])
        spent = cost(state.removal())
        _push(heap, state, place, spent, scores, cost)
    return _refined(state, target, STRIDES)


def _push(
    heap: list[tuple[float, int, int]], state: Allocation, place: int, spent: float, scores: UnitScores, cost: Cost
) -> None:
    entry = _entry(state, place, spent, scores, cost)
    if entry is not None:
        heapq.heappush(heap, entry)


def _entry(
    state: Allocation, place: int, spent: float, scores: UnitScores, cost: Cost
) -> tuple[float, int, int] | None:
    """Damage per cost saved, the dimension, and the rung to go to; None at the end of the ladder."""
    ladder, rung = state.ladders[place], state.rungs[place]
    last = len(ladder.rungs) - 1
    stride = max(1, last // STRIDES)
    while rung < last:
        new = min(rung + stride, last)
        saved = spent - cost(state.at(place, new).removal())
        if saved > 1e-9 * spent:
            going = ladder.order[ladder.rungs[state.rungs[place]] : ladder.rungs[new]]
            return (sum(scores.get(atom, 0.0) for atom in going) / saved, place, new)
        rung = new  # this far saves nothing; further may
    return None


def _refined(state: Allocation, target: float, most: int) -> Allocation:
    """The last step may go too far: give back what the target does not need, the widest dimensions first.

    `most` is how many rungs one dimension gets back.
    """
    order = sorted(range(len(state.ladders)), key=lambda place: -state.ladders[place].dimension.parameters)
    for place in order:
        for rung in reversed(range(max(0, state.rungs[place] - most), state.rungs[place])):
            wider = state.at(place, rung)
            if wider.removal().macs() > target:
                break
            state = wider
    return state
