"""What layers read, gathered while the program runs: the energy of each input, and how inputs go together.

    ‖X_j‖₂² = Σ over positions x_j²        H = Σ over positions x·xᵀ

The batches run in step, node by node. A layer is handed out before its last call runs, so that a weight written then
is the one that later layers' inputs come from (as in SparseGPT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.sparsifying.layers import Layer

__all__ = ["Inputs", "walk"]

ROWS = 16384  # positions that one layer is judged by
NUMBERS = 1 << 25  # that they hold in one batch


@dataclass
class Inputs:
    """Σx² as groups × inputs, and Σx·xᵀ as groups × inputs × inputs where it was asked for."""

    squares: Tensor
    gram: Tensor | None

    @property
    def usable(self) -> bool:
        return bool(torch.isfinite(self.squares).all()) and bool(self.squares.any())


def walk(
    program: Program,
    layers: Sequence[Layer],
    batches: Sequence[Batch],
    wants_gram: Callable[[Layer], bool],
    progress: Progress,
) -> Iterator[tuple[Layer, Inputs | None]]:
    """Each layer with what it reads, in the order of the last calls; None where nothing reached it."""
    if not batches:
        yield from ((layer, None) for layer in layers)
        return
    runs = [Stepper(program, [tensor.clone() for tensor in program.flatten(batch)]) for batch in batches]
    owner = {node: layer for layer in layers for node in layer.nodes}
    waiting = {layer.name: len(layer.nodes) for layer in layers}
    found: dict[str, Inputs] = {}
    nodes = [node for node in program.graph.nodes if node.op != "output"]
    for node in progress.over(nodes, "sparsifying"):
        if (layer := owner.get(node)) is not None:
            limit = min(ROWS // len(runs) + 1, NUMBERS // layer.matrix(program).shape[-1] + 1)
            for data in (run.argument(layer.data(node)) for run in runs):
                if data.numel():
                    _add(found, layer.name, layer.rows(program, node, data, limit), wants_gram(layer))
            waiting[layer.name] -= 1
            if not waiting[layer.name]:
                yield layer, found.pop(layer.name, None)
        with torch.no_grad():
            for run in runs:
                run.step()


def _add(found: dict[str, Inputs], name: str, rows: Tensor, wants_gram: bool) -> None:
    squares = rows.double().square().sum(1)
    gram = (rows.transpose(1, 2) @ rows).double() if wants_gram else None
    if (known := found.get(name)) is not None:
        squares += known.squares
        gram = gram + known.gram if gram is not None and known.gram is not None else None
    found[name] = Inputs(squares, gram)
