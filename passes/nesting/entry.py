"""From what an entry keeps to its program: units cut off, blocks left out, and the rows of every tensor that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.errors import PassError
from compressor.graph.contract import Batch
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import finish
from compressor.graph.entries import Entry, Rows, renewed
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import candidates_of
from compressor.passes.nesting.choice import Choice
from compressor.passes.pruning.choose import Ranked
from compressor.passes.pruning.widths import Ladder
from compressor.passes.recover.norms import recalibrate, statistics_of

__all__ = ["Maker", "calibrated"]

SAMPLED = 16  # batches that an entry's statistics are estimated on


@dataclass(frozen=True)
class Maker:
    """Makes entries of the program that was ranked; units go in one order, so that entries are nested."""

    ranked: Ranked

    @property
    def program(self) -> Program:
        return self.ranked.dimensions.program

    @property
    def ladders(self) -> Mapping[str, Ladder]:
        return {one.dimension.name: one for one in self.ranked.ladders}

    def make(self, choice: Choice) -> Entry:
        """Raises PassError where nothing would be left of an axis, or a block is not there any more."""
        ladders = self.ladders
        gone = [
            unit
            for site, share in choice.widths.items()
            for unit in ladders[site].units(ladders[site].nearest(1 - share))
        ]
        removal = Removal(self.ranked.dimensions, gone)
        program = cut(removal) if gone else self.program
        program = _shallower(program, choice)
        own = set(statistics_of(program))
        return Entry(program, {name: _rows(removal, name) for name in program.tensors() if name not in own})


def calibrated(entry: Entry, parent: Program, batches: Sequence[Batch]) -> Entry:
    """The entry with its parent's tensors as they are now, and running statistics of its own on these batches."""
    return Entry(recalibrate(renewed(entry, parent), batches, SAMPLED), entry.rows)


def _shallower(program: Program, choice: Choice) -> Program:
    if not choice.out:
        return program
    found = {each.site: each for each in candidates_of(program, "block")[0]}
    if missing := sorted(choice.out - set(found)):
        raise PassError(
            "is no block of the narrower network", where=missing[0], way_out="Take one of along=width, depth."
        )
    return finish(without(program, [found[site] for site in choice.out]))


def _rows(removal: Removal, name: str) -> tuple[Rows, ...]:
    axes = removal.dimensions.tensors.get(name, ())
    changed = (vector if removal.changes(vector) else None for vector in axes)
    return tuple(None if vector is None else tuple(removal.kept(vector).tolist()) for vector in changed)
