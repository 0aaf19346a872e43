"""The user's samples: the first of them, and what every node computes on them.

Nothing is kept but what a caller keeps: every value goes after its last use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import fx

from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper

__all__ = ["is_divisible", "limited", "visit"]

Visit = Callable[[fx.Node, tuple[Any, ...], Any], None]


def visit(program: Program, batches: Iterable[Batch], look: Visit, watched: Collection[fx.Node]) -> None:
    """Run the program on each batch, as far as the last of the watched nodes, and call `look(node, args, value)` after
    each of these."""
    wanted = [node for node in program.graph.nodes if node in watched and node.op != "output"]
    with torch.no_grad():
        for batch in batches if wanted else ():
            run = Stepper(program, program.flatten(batch))
            for node in wanted:
                run.run_before(node)
                args = fx.node.map_arg(node.args, run.argument)
                run.step()
                look(node, args, run.values.get(node))


def limited(program: Program, batches: Sequence[Batch], samples: int) -> list[Batch]:
    """The first batches that together hold at most `samples` samples; the last one is cut where it can be."""
    return list(_limit(batches, samples, is_divisible(program)))


def is_divisible(program: Program) -> bool:
    """Whether samples lie along the first dimension, because all inputs share one that is dynamic; else batches stay
    whole."""
    leading = {spec.shape[0] if spec.shape else 0 for spec in program.inputs}
    return len(leading) == 1 and isinstance(leading.pop(), str)


def _limit(batches: Sequence[Batch], samples: int, divisible: bool) -> Iterator[Batch]:
    for batch in batches:
        if samples <= 0:
            return
        count = len(next(iter(batch.values()))) if divisible else 1
        yield {name: tensor[:samples] for name, tensor in batch.items()} if samples < count else batch
        samples -= max(count, 1)
