"""The blocks of a network: repeated isomorphic pieces along a residual stream, and, where shapes repeat, without one.

    sums of a stream and its branches  →  steps, linked to streams  →  cut where they repeat  →  chains of blocks

No architecture is known by name; names come from the parameters' paths.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import fx

from compressor.graph.blocks.chain import Block, Branch, Chain, Kind
from compressor.graph.blocks.kinds import features_axis, kind_of, reads_beside, spreads
from compressor.graph.blocks.likeness import likeness
from compressor.graph.blocks.names import Names
from compressor.graph.blocks.periods import periods
from compressor.graph.blocks.plain import find_runs
from compressor.graph.blocks.reach import Reach
from compressor.graph.blocks.steps import Step, find_streams
from compressor.graph.program import Program

__all__ = ["find_blocks"]


def find_blocks(program: Program) -> tuple[Chain, ...]:
    """The chains of a program in order of execution.

    The program is without in-place operators (`graph.functional.functional_copy`): a sum that one writes into a stream
    is not seen. It is run on its example, in parts, to tell mixers from MLPs.
    """
    reach = Reach(program)
    finder = _Finder(program, reach)
    found = [chain for run in find_streams(program, reach) for chain in finder.on_stream(run)]
    inside = {node for chain in found for block in chain.blocks for node in block.nodes}
    found += [finder.without(run) for run in find_runs(program, reach, inside)]
    return tuple(sorted(found, key=lambda chain: reach.place[chain.blocks[0].entry]))


class _Finder:
    def __init__(self, program: Program, reach: Reach) -> None:
        self.program, self.reach, self.names = program, reach, Names()

    def on_stream(self, steps: Sequence[Step]) -> list[Chain]:
        keys = [likeness(self.program, self.reach, step.entry, step.exit).digest for step in steps]
        kinds, axis = self._kinds(steps, keys)
        if not any(step.weighted for step in steps) and all(kind == "branch" for of in kinds for kind in of):
            return []  # elementwise functions, such as GELU's x + c·x³
        lead = [of[0] if of else "branch" for of in kinds]
        chains: list[Chain] = []
        for run in periods(keys, [step.gap for step in steps], lead):
            blocks = [self._block([steps[i] for i in part], [kinds[i] for i in part], axis) for part in run]
            alike = {self._key(block) for block in blocks}
            chains += [Chain(tuple(blocks))] if len(alike) == 1 else [Chain((block,)) for block in blocks]
        return chains

    def without(self, run: Sequence[fx.Node]) -> Chain:
        pairs = itertools.pairwise(run)
        axis = features_axis(run[0].meta["val"].dim(), [])
        return Chain(tuple(self._made(entry, end, (), axis) for entry, end in pairs), residual=False)

    def _block(self, steps: Sequence[Step], kinds: Sequence[Sequence[Kind]], axis: int) -> Block:
        branches = [
            self._branch(step, term, kind)
            for step, of in zip(steps, kinds, strict=True)
            for term, kind in zip(step.terms, of, strict=True)
        ]
        return self._made(steps[0].entry, steps[-1].exit, branches, axis)

    def _made(self, entry: fx.Node, end: fx.Node, branches: Sequence[Branch], axis: int) -> Block:
        parameters = likeness(self.program, self.reach, entry, end).parameters
        nodes = self.reach.owned(self.reach.between(entry, end))
        return Block(self.names.of(parameters, nodes, end), entry, end, nodes, parameters, tuple(branches), axis)

    def _branch(self, step: Step, term: fx.Node, kind: Kind) -> Branch:
        parameters = likeness(self.program, self.reach, step.entry, term).parameters
        own = set(self.reach.between(step.entry, term))
        others = {step.total, *self.reach.between(step.entry, step.total)} - own
        for node in reversed(self.reach.order):  # what another branch of the same step reads, too, is not its own
            if node in own and node is not term and not others.isdisjoint(node.users):
                own.discard(node)
                others.add(node)
        return Branch(kind, step.entry, term, self.reach.owned(own), parameters)

    def _key(self, block: Block) -> tuple[str, int]:
        found = likeness(self.program, self.reach, block.entry, block.exit)
        return found.digest, len(found.parameters)

    def _kinds(self, steps: Sequence[Step], keys: Sequence[str]) -> tuple[list[list[Kind]], int]:
        """The kind of each branch of each step (those of equal steps are found once), and the features' axis."""
        first = dict(reversed(list(zip(keys, steps, strict=True))))
        chosen = sorted(first.items(), key=lambda item: self.reach.place[item[1].entry])
        ends = [(step.entry, term) for _, step in chosen for term in step.terms]
        found = iter(spreads(self.program, ends))
        spread = {key: [next(found) for _ in step.terms] for key, step in chosen}
        rank = steps[0].entry.meta["val"].dim()
        axis = features_axis(rank, [each for of in spread.values() for each in of])
        kinds = {
            key: [
                "mixer" if reads_beside(self.reach, step.entry, term) else kind_of(each, axis)
                for term, each in zip(step.terms, spread[key], strict=True)
            ]
            for key, step in chosen
        }
        return [kinds[key] for key in keys], axis
