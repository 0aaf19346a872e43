"""From scores to the units that go: rank every dimension's units, allocate, and leave out what saves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context, Setting, Skip
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import is_kept
from compressor.passes.pruning.allocate import Allocation, greedy, uniform
from compressor.passes.pruning.scores import Score, Scorer, chosen_score
from compressor.passes.pruning.settings import spell_units
from compressor.passes.pruning.units import UnitScores
from compressor.passes.pruning.widths import Ladder, ladder

__all__ = ["Chooser", "Ranked", "Where", "predicted_ms", "settings_of"]

Where = Literal["uniform", "global", "latency"]


@dataclass(frozen=True)
class Ranked:
    """The dimensions that may be cut, each with its units in order, and what every unit is worth."""

    dimensions: Dimensions
    ladders: Sequence[Ladder]
    scores: UnitScores
    kept: tuple[str, ...]  # dimensions that the user wants left alone

    def nothing(self) -> Allocation:
        return Allocation(self.dimensions, self.ladders, (0,) * len(self.ladders))


@dataclass(frozen=True)
class Chooser:
    """Decides what goes. `multiple` 0 is what the target runs well; `least` is the share of a dimension that stays."""

    score: Score
    where: Where
    multiple: int
    least: float
    keep: tuple[str, ...]

    def check(self, dimensions: Dimensions) -> None:
        """Raises RecipeError for a multiple that no width holds twice. Asked before the first cut: widths shrink."""
        widest = max((len(one.units) * one.rows for one in dimensions.dimensions), default=0)
        if 0 < widest < 2 * self.multiple:
            raise RecipeError(
                f"multiple is {self.multiple}, and no width holds that twice: the widest is {widest}", where="prune",
                way_out="Choose a smaller one, or leave it to the target.",
            )  # fmt: skip

    def ranked(
        self, dimensions: Dimensions, batches: Sequence[Batch], context: Context, comparable: bool = False
    ) -> Ranked:
        """Score every unit, `comparable` also between dimensions. Raises RecipeError for lack of data."""
        comparable |= self.where != "uniform"
        score = chosen_score(dimensions, batches, comparable) if self.score == "auto" else self.score
        context.progress.say(f"scoring {len(dimensions.slices)} units by {score}")
        scores = Scorer(score, batches, context.seed, context.progress).of(dimensions)
        return self.laddered(dimensions, scores, context)

    def laddered(self, dimensions: Dimensions, scores: UnitScores, context: Context) -> Ranked:
        """The widths that may be cut to, the units in the order of these scores."""
        multiple = self.multiple or context.target.width_multiple
        kept = {d.name for d in dimensions.dimensions if any(is_kept(tensor, self.keep) for tensor, *_ in d.spans)}
        free = [dimension for dimension in dimensions.dimensions if dimension.name not in kept]
        ladders = [ladder(dimension, scores, multiple, self.least) for dimension in free]
        return Ranked(dimensions, [one for one in ladders if len(one.rungs) > 1], scores, tuple(sorted(kept)))

    def allocation(self, ranked: Ranked, target: float, context: Context) -> tuple[Allocation, list[Skip]]:
        """At most `target` multiply–accumulates left, and the cuts that were not worth making.

        What a cut that is not made would have saved is cut elsewhere, as far as that goes.
        """
        skipped: list[Skip] = []
        while True:
            allocation, useless = _useful(_spared(self._allocation(ranked, target, context)), context)
            skipped += useless
            if not useless or allocation.removal().macs() <= target:
                return allocation, skipped
            declined = {skip.site for skip in useless}
            ladders = [one for one in ranked.ladders if one.dimension.name not in declined]
            ranked = replace(ranked, ladders=ladders)

    def cost(self, removal: Removal, context: Context) -> float:
        """What is left after a cut: predicted time where `where` says so and there is a model of it, else MACs."""
        milliseconds = predicted_ms(removal, context) if self.where == "latency" else None
        return float(removal.macs()) if milliseconds is None else milliseconds

    def _allocation(self, ranked: Ranked, target: float, context: Context) -> Allocation:
        if self.where == "uniform":
            return uniform(ranked.dimensions, ranked.ladders, target)

        def cost(removal: Removal) -> float:
            return self.cost(removal, context)

        return greedy(ranked.dimensions, ranked.ladders, target, ranked.scores, cost)


def predicted_ms(removal: Removal, context: Context) -> float | None:
    """The latency on the target after a cut, where there is a model of it."""
    if context.latency is None:
        return None
    program = removal.dimensions.program
    return context.latency.predict(program, context.target, values=removal.values()).latency_ms


def settings_of(allocation: Allocation) -> dict[str, Setting]:
    """The settings that, given as `sites`, cut the same again."""
    pairs = [(one, one.units(rung)) for one, rung in zip(allocation.ladders, allocation.rungs, strict=True) if rung]
    return {one.dimension.name: {"remove": spell_units(one.dimension.units, units)} for one, units in pairs}


def _spared(allocation: Allocation) -> Allocation:
    """Dimensions that share an axis can empty it together: those that lose the largest share give a rung back."""
    while any(allocation.rungs) and allocation.removal().empties():
        lost = [
            one.rungs[rung] / len(one.order) for one, rung in zip(allocation.ladders, allocation.rungs, strict=True)
        ]
        place = lost.index(max(lost))
        allocation = allocation.at(place, allocation.rungs[place] - 1)
    return allocation


def _useful(allocation: Allocation, context: Context) -> tuple[Allocation, list[Skip]]:
    """Without the cuts that the latency model says save nothing on a target whose objective is latency."""
    skipped: list[Skip] = []
    spent = predicted_ms(allocation.removal(), context)
    if spent is None or context.target.objective != "latency":
        return allocation, skipped
    for place, one in enumerate(allocation.ladders):
        if allocation.rungs[place]:
            without = predicted_ms(allocation.at(place, 0).removal(), context)
            if without is not None and without <= spent:
                allocation, spent = allocation.at(place, 0), without
                skipped.append(Skip(one.dimension.name, f"cutting it saves no time on {context.target.name}"))
    return allocation, skipped
