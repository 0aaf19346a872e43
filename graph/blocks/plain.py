"""Equal layers in a row without a residual stream: a run of values of one shape, each computed alike from the last.

x₁ = f(x₀; w₁),  x₂ = f(x₁; w₂),  …        f: the same operators, w: parameters of the same shapes
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from torch import fx

from compressor.graph.blocks.likeness import followed
from compressor.graph.blocks.operators import is_weighted, same_shape
from compressor.graph.blocks.reach import Reach, is_value
from compressor.graph.program import Program

__all__ = ["find_runs"]

_AHEAD = 12  # layers of one block at most


def find_runs(program: Program, reach: Reach, taken: Iterable[fx.Node]) -> list[list[fx.Node]]:
    """The values of each run, two blocks or more; `taken` nodes belong to no block of one."""
    covered = set(taken)
    starts = _starts(program, reach)
    runs: list[list[fx.Node]] = []
    for index, start in enumerate(starts):
        for end in starts[index + 1 : index + 1 + _AHEAD]:
            nodes = reach.between(start, end)
            if not nodes or not same_shape(start, end) or not _is_closed(reach, start, nodes):
                continue
            run = _repeated(program, reach, start, nodes, end)
            inside = {node for a, b in itertools.pairwise(run) for node in reach.between(a, b)}
            if len(run) > 2 and covered.isdisjoint(inside):
                runs.append(run)
                covered |= inside
                break
    return runs


def _starts(program: Program, reach: Reach) -> list[fx.Node]:
    """What each layer with weights reads, in order."""
    layers = (node for node in reach.order if is_weighted(program, reach, node))
    data = [s for layer in layers for s in layer.all_input_nodes if is_value(s) and not reach.is_constant(s)]
    return sorted(dict.fromkeys(data), key=reach.place.__getitem__)


def _repeated(program: Program, reach: Reach, start: fx.Node, nodes: Sequence[fx.Node], end: fx.Node) -> list[fx.Node]:
    run = [start, end]
    while (after := followed(program, reach, start, nodes, end, run[-1])) is not None:
        run.append(after)
    return run


def _is_closed(reach: Reach, start: fx.Node, nodes: Sequence[fx.Node]) -> bool:
    """Whether they read nothing but each other, the start, stored tensors and sizes."""
    inside = {start, *nodes}
    return all(s in inside or reach.is_constant(s) or not is_value(s) for node in nodes for s in node.all_input_nodes)
