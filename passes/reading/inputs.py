"""What layers read, gathered while the program runs: the energy of each input, and how inputs go together.

    ‖X_j‖₂² = Σ over positions x_j²        H = Σ over positions x·xᵀ        μ = the mean over positions

The batches run in step, node by node. A layer is handed out before its last call runs, so that a weight written then
is the one that later layers' inputs come from (as in SparseGPT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper

__all__ = ["Inputs", "Reads", "walk"]

ROWS = 16384  # positions that one layer is judged by
NUMBERS = 1 << 25  # that they hold in one batch


class Reads(Protocol):
    """A layer as `walk` sees it: calls that multiply what they read by one stored matrix."""

    @property
    def name(self) -> str: ...

    @property
    def nodes(self) -> tuple[fx.Node, ...]: ...

    def data(self, node: fx.Node) -> fx.Node:
        """What a call reads."""

    def inputs(self, program: Program) -> int:
        """How many inputs an output has."""

    def rows(self, program: Program, node: fx.Node, data: Tensor, limit: int) -> Tensor:
        """What at most `limit` positions of a call read: groups × positions × inputs."""


R = TypeVar("R", bound=Reads)


@dataclass
class Inputs:
    """Σx² as groups × inputs, and Σx·xᵀ as groups × inputs × inputs where it was asked for.

    `means` are those of the first and the second half of each batch's positions: 2 × groups × inputs.
    """

    squares: Tensor
    gram: Tensor | None
    means: Tensor | None = None

    @property
    def usable(self) -> bool:
        return bool(torch.isfinite(self.squares).all()) and bool(self.squares.any())


def walk(
    program: Program,
    layers: Sequence[R],
    batches: Sequence[Batch],
    wants_gram: Callable[[R], bool],
    progress: Progress,
    what: str = "sparsifying",
) -> Iterator[tuple[R, Inputs | None]]:
    """Each layer with what it reads, in the order of the last calls; None where nothing reached it."""
    if not batches:
        yield from ((layer, None) for layer in layers)
        return
    runs = [Stepper(program, [tensor.clone() for tensor in program.flatten(batch)]) for batch in batches]
    owner = {node: layer for layer in layers for node in layer.nodes}
    waiting = {layer.name: len(layer.nodes) for layer in layers}
    found: dict[str, _Sums] = {}
    nodes = [node for node in program.graph.nodes if node.op != "output"]
    for node in progress.over(nodes, what):
        if (layer := owner.get(node)) is not None:
            limit = min(ROWS // len(runs) + 1, NUMBERS // layer.inputs(program) + 1)
            for data in (run.argument(layer.data(node)) for run in runs):
                if data.numel():
                    sums = found.setdefault(layer.name, _Sums())
                    sums.add(layer.rows(program, node, data, limit), wants_gram(layer))
            waiting[layer.name] -= 1
            if not waiting[layer.name]:
                yield layer, found.pop(layer.name).inputs() if layer.name in found else None
        with torch.no_grad():
            for run in runs:
                run.step()


class _Sums:
    """Running sums over batches and calls."""

    def __init__(self) -> None:
        self.squares: Tensor | float = 0.0
        self.gram: Tensor | None = None
        self.halves: list[Tensor | float] = [0.0, 0.0]
        self.counts = [0, 0]

    def add(self, rows: Tensor, wants_gram: bool) -> None:
        """Groups × positions × inputs."""
        self.squares = self.squares + rows.double().square().sum(1)
        if wants_gram:
            products = (rows.transpose(1, 2) @ rows).double()
            self.gram = products if self.gram is None else self.gram + products
        for place, half in enumerate(rows.tensor_split(2, 1)):
            self.halves[place] = self.halves[place] + half.double().sum(1)
            self.counts[place] += half.shape[1]

    def inputs(self) -> Inputs:
        squares = torch.as_tensor(self.squares)
        pairs = zip(self.halves, self.counts, strict=True)
        means = torch.stack([torch.as_tensor(half).expand_as(squares) / max(count, 1) for half, count in pairs])
        return Inputs(squares, self.gram, means)
