"""The two programs that linearizing works on.

folded     what `fold` makes of the original, but for layers that it would merge: activations stand right between
           layers, so that it is seen what merges; where nothing is trained the work is done on it
trainable  the original without in-place operators, with its batch norms, which training is better with; only where a
           bias has to move is the norm before the activation folded

Nodes keep their names in both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from compressor.graph import edit
from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.folding.layers import layer_of
from compressor.passes.folding.linears import to_linears
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.removal import moves, reader

__all__ = ["apart", "functional", "trainable"]

MERGING = ("linear_pair", "linear_run", "parallel")


def functional(program: Program) -> Program:
    """A copy without dead code or in-place operators, its products with stored matrices as linears."""
    copy, _ = functional_copy(program)
    to_linears(copy)
    return edit.finish(copy)


def apart(program: Program, context: Context, keep: Sequence[str] = ()) -> Program:
    """The program folded, its layers not merged."""
    whole = Fold(keep=tuple(keep)).run(program, context)
    if not any(site.partition(":")[0] in MERGING for site in whole.settings):
        return whole.program
    sites = {site: how for site, how in whole.settings.items() if site.partition(":")[0] not in MERGING}
    return Fold(sites=sites, keep=tuple(keep)).run(program, context).program if sites else program


def trainable(
    program: Program, folded: Program, nodes: Collection[str], context: Context, keep: Sequence[str] = ()
) -> Program:
    """The original with the batch norms before these activations folded, where the folded program says that a bias
    moves there."""
    bench = Bench(folded)
    moving = set()
    for node in folded.graph.nodes:
        first = layer_of(bench, node.args[0]) if node.name in nodes else None
        second = reader(bench, node) if first is not None else None
        if first is not None and second is not None and moves(bench, first, second):
            moving.add(node.name)
    norms = [node.args[0] for node in program.graph.nodes if node.name in moving]
    known = [norm for norm in norms if edit.is_call(norm, torch.ops.aten.batch_norm.default)]
    sites = {f"batch_norm:{edit.layer_name(norm)}": {"rule": "batch_norm"} for norm in known}
    return Fold(sites=sites, keep=tuple(keep)).run(program, context).program if sites else program
