"""From what an entry keeps to its program: units cut off, blocks left out, and the rows of every tensor that stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import fx

from compressor.graph.contract import Batch
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import finish
from compressor.graph.entries import Entry, Rows, renewed
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import without
from compressor.passes.dropping.candidates import Candidate, candidates_of
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
        """Raises PassError where nothing would be left of an axis."""
        ladders = self.ladders
        gone = [
            unit
            for site, share in choice.widths.items()
            for unit in ladders[site].units(ladders[site].nearest(1 - share))
        ]
        removal = Removal(self.ranked.dimensions, gone)
        program = cut(removal) if gone else self.program
        program = _shallower(self.program, program, choice.out)
        own = set(statistics_of(program))
        return Entry(program, {name: _rows(removal, name) for name in program.tensors() if name not in own})


def calibrated(entry: Entry, parent: Program, batches: Sequence[Batch]) -> Entry:
    """The entry with its parent's tensors as they are now, and running statistics of its own on these batches."""
    return Entry(recalibrate(renewed(entry, parent), batches, SAMPLED), entry.rows)


def _shallower(base: Program, narrower: Program, out: Collection[str]) -> Program:
    """Blocks are found in the network as it was: once their widths differ, they are no longer alike."""
    if not out:
        return narrower
    twins = {node.name: node for node in narrower.graph.nodes}
    found = {each.site: each for each in candidates_of(base, "block")[0]}
    return finish(without(narrower, [_moved(found[site], twins) for site in sorted(out)]))


def _moved(candidate: Candidate, twins: Mapping[str, fx.Node]) -> Candidate:
    block = candidate.block
    nodes = tuple(twins[node.name] for node in block.nodes if node.name in twins)
    entry, exit = twins[block.entry.name], twins[block.exit.name]
    return replace(candidate, block=replace(block, entry=entry, exit=exit, nodes=nodes, branches=()))


def _rows(removal: Removal, name: str) -> tuple[Rows, ...]:
    axes = removal.dimensions.tensors.get(name, ())
    changed = (vector if removal.changes(vector) else None for vector in axes)
    return tuple(None if vector is None else tuple(removal.kept(vector).tolist()) for vector in changed)
