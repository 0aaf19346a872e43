"""What layers read, gathered while the program runs: the energy of each input, and how inputs go together.

    ‖X_j‖₂² = Σ over positions x_j²        H = Σ over positions x·xᵀ        μ = the mean over positions
    C = Σ over positions x·x₀ᵀ             x₀ is what the same call reads in the program as it was

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

    `means` are those of the first and the second half of each batch's positions: 2 × groups × inputs. `cross` (Σx·x₀ᵀ,
    as large as the gram matrix) and `original` (the means of x₀) are there where a program as it was ran beside.
    `positions` is how many were summed.
    """

    squares: Tensor
    gram: Tensor | None
    means: Tensor | None = None
    cross: Tensor | None = None
    original: Tensor | None = None
    positions: int = 0

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
    beside: Program | None = None,
) -> Iterator[tuple[R, Inputs | None]]:
    """Each layer with what it reads, in the order of the last calls; None where nothing reached it.

    `beside` is the program as it was, whose calls have the same names: what they read there is put beside.
    """
    if not batches:
        yield from ((layer, None) for layer in layers)
        return
    runs = [Stepper(program, [tensor.clone() for tensor in program.flatten(batch)]) for batch in batches]
    twin = None if beside is None else _Twin(beside, batches)
    owner = {node: layer for layer in layers for node in layer.nodes}
    waiting = {layer.name: len(layer.nodes) for layer in layers}
    found: dict[str, _Sums] = {}
    nodes = [node for node in program.graph.nodes if node.op != "output"]
    for node in progress.over(nodes, what):
        if (layer := owner.get(node)) is not None:
            limit = min(ROWS // len(runs) + 1, NUMBERS // layer.inputs(program) + 1)
            read = layer.data(node)
            others = [None] * len(runs) if twin is None else twin.reads(node, read)
            for data, other in zip([run.argument(read) for run in runs], others, strict=True):
                if data.numel():
                    sums = found.setdefault(layer.name, _Sums())
                    exact = None if other is None else layer.rows(program, node, other, limit)
                    sums.add(layer.rows(program, node, data, limit), wants_gram(layer), exact)
            waiting[layer.name] -= 1
            if not waiting[layer.name]:
                del waiting[layer.name]
                yield layer, found.pop(layer.name).inputs() if layer.name in found else None
            if not waiting:  # nothing after them is read
                return
        with torch.no_grad():
            for run in runs:
                run.step()


class _Twin:
    """The program as it was, on the same batches, as far as the other one has come."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self.runs = [Stepper(program, [tensor.clone() for tensor in program.flatten(batch)]) for batch in batches]
        self.nodes = {node.name: node for node in program.graph.nodes}

    def reads(self, call: fx.Node, read: fx.Node) -> list[Tensor]:
        """What a call of the other program reads here, batch by batch."""
        with torch.no_grad():
            for run in self.runs:
                run.run_before(self.nodes[call.name])
        return [run.argument(self.nodes[read.name]) for run in self.runs]


class _Means:
    """Of the first and of the second half of each batch's positions."""

    def __init__(self) -> None:
        self.halves: list[Tensor | float] = [0.0, 0.0]
        self.counts = [0, 0]

    def add(self, rows: Tensor) -> None:
        for place, half in enumerate(rows.tensor_split(2, 1)):
            self.halves[place] = self.halves[place] + half.double().sum(1)
            self.counts[place] += half.shape[1]

    def found(self, like: Tensor) -> Tensor:
        pairs = zip(self.halves, self.counts, strict=True)
        return torch.stack([torch.as_tensor(half).expand_as(like) / max(count, 1) for half, count in pairs])


class _Sums:
    """Running sums over batches and calls."""

    def __init__(self) -> None:
        self.squares: Tensor | float = 0.0
        self.gram: Tensor | None = None
        self.cross: Tensor | None = None
        self.means, self.original = _Means(), _Means()

    def add(self, rows: Tensor, wants_gram: bool, exact: Tensor | None = None) -> None:
        """Groups × positions × inputs, and what they are in the program as it was."""
        self.squares = self.squares + rows.double().square().sum(1)
        if wants_gram:
            products = (rows.transpose(1, 2) @ rows).double()
            self.gram = products if self.gram is None else self.gram + products
        self.means.add(rows)
        if exact is not None:
            self.original.add(exact)
        if exact is not None and wants_gram:
            products = (rows.transpose(1, 2) @ exact).double()
            self.cross = products if self.cross is None else self.cross + products

    def inputs(self) -> Inputs:
        squares = torch.as_tensor(self.squares)
        original = self.original.found(squares) if any(self.original.counts) else None
        return Inputs(squares, self.gram, self.means.found(squares), self.cross, original, sum(self.means.counts))
