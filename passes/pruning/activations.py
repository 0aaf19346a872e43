"""Scores from what flows through a unit.

    Wanda        Σ over the matrices that read it  Σᵢ |Wᵢⱼ| · ‖Xⱼ‖₂
    activation   ‖mean over positions of |Xⱼ|‖₂ over the batch, where it is read

What no weights read (the widths of queries and keys) is scored where weights make it: ‖Xⱼ‖₂, or as above.

(Wanda: Sun et al., 2023, arXiv:2306.11695. Activation: Minitron, Muralidharan et al., 2024, arXiv:2407.14679; a neuron
is scored there before its non-linearity, and a head by the L2 norm of its output, here by the sum of its rows' scores.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from compressor.graph.contract import Batch
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.labels import Vector
from compressor.graph.edit import argument, tensor_of
from compressor.graph.work import COMPUTE, kind_of
from compressor.passes.pruning.units import UnitScores, add_rows
from compressor.passes.reading.samples import visit

__all__ = ["activation", "input_axis", "wanda"]


def wanda(dimensions: Dimensions, batches: Sequence[Batch]) -> UnitScores:
    """What each unit adds to the outputs of the layers that read it, relative to what all of them add."""

    def energy_of(x: Tensor, axis: int) -> Tensor:
        return x.square().sum(_others(x, axis))

    scores: UnitScores = {}
    for node, total in _observe(dimensions, batches, energy_of).items():
        weight = tensor_of(dimensions.program, node.args[1])
        vector = dimensions.walk.of(node.args[0])[input_axis(node)]
        columns = _columns(node, weight)
        if vector is None or columns is None or len(columns) != len(vector):
            continue
        _add(scores, dimensions, vector, columns * total.sqrt())
    return _completed(scores, dimensions, batches, energy_of)


def activation(dimensions: Dimensions, batches: Sequence[Batch]) -> UnitScores:
    """How large each unit is where layers read it: mean over positions, L2 over the batch, relative to the layer."""

    def reduced(x: Tensor, axis: int) -> Tensor:
        positions = tuple(i for i in _others(x, axis) if i != 0)
        means = x.abs().mean(positions) if positions else x.abs()
        return means.square().sum(0) if means.dim() == 2 else means.square()

    scores: UnitScores = {}
    for node, total in _observe(dimensions, batches, reduced).items():
        vector = dimensions.walk.of(node.args[0])[input_axis(node)]
        if vector is not None:
            _add(scores, dimensions, vector, total.sqrt())
    return _completed(scores, dimensions, batches, reduced)


def _add(scores: UnitScores, dimensions: Dimensions, vector: Vector, values: Tensor) -> None:
    """Each unit's share of a layer's sum."""
    add_rows(scores, dimensions.rows(vector), (values / values.sum().clamp(min=1e-30)).double().numpy())


def _completed(scores: UnitScores, dimensions: Dimensions, batches: Sequence[Batch], reduce: Any) -> UnitScores:
    """With scores for what no layer reads, from the outputs of the layers that make it."""
    if dimensions.slices.keys() <= scores.keys():
        return scores
    more: UnitScores = {}
    for node, total in _observe(dimensions, batches, reduce, outputs=True).items():
        vector = dimensions.walk.of(node)[input_axis(node)]
        if vector is not None and not scores.keys() & dimensions.rows(vector).keys():
            _add(more, dimensions, vector, total.sqrt())
    return {**more, **scores}


def input_axis(node: fx.Node) -> int:
    """The axis of a layer's input that its weights sum over, and of its output that they make."""
    return -1 if kind_of(node) in ("linear", "matmul") else 1


def _observe(
    dimensions: Dimensions, batches: Sequence[Batch], reduce: Any, *, outputs: bool = False
) -> dict[fx.Node, Tensor]:
    """A statistic of what every layer with stored weights reads, or makes, added up over the batches."""
    program = dimensions.program
    found: dict[fx.Node, Tensor] = {}
    layers = {n for n in program.nodes() if kind_of(n) in COMPUTE and tensor_of(program, _weight(n)) is not None}

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        data = value if outputs else args[0] if args else None
        if isinstance(data, Tensor):
            statistic = reduce(data, input_axis(node))
            found[node] = found[node] + statistic if node in found else statistic

    visit(program, batches, look, layers)
    return found


def _weight(node: fx.Node) -> object:
    return node.args[1] if len(node.args) > 1 else None


def _columns(node: fx.Node, weight: Tensor | None) -> Tensor | None:
    """Σ |W| over everything but what the layer's input indexes."""
    if weight is None:
        return None
    kind, size = kind_of(node), weight.detach().abs()
    if kind == "linear":
        return size.sum(0)
    if kind == "matmul":
        return size.sum(tuple(i for i in range(size.dim()) if i != size.dim() - 2))
    if kind == "conv_transpose":
        return size.sum(tuple(range(1, size.dim())))
    groups = int(argument(node, "groups"))
    inner = size.sum(tuple(range(2, size.dim())))  # rows × channels in a group
    per_group = inner.reshape(groups, -1, inner.shape[1]).sum(1)
    return per_group.reshape(-1)


def _others(x: Tensor, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(x.dim()) if i != axis % x.dim())
