"""What is left when some units go: rows of every axis, shapes of every value, numbers of weights and of MACs."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from compressor.graph.concrete import Values
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.labels import Vector
from compressor.graph.dimensions.walk import Axes
from compressor.graph.work import macs

__all__ = ["Removal"]


class Removal:
    """Units of an analysed program that are to go. Nothing is cut yet."""

    def __init__(self, dimensions: Dimensions, units: Collection[int]) -> None:
        self.dimensions = dimensions
        self.units = frozenset(units)
        atoms, sets, starts = dimensions.members
        self._atoms = np.zeros(atoms, np.bool_)
        self._atoms[list(self.units)] = True
        self._sets = np.logical_or.reduceat(self._atoms[sets], starts) if len(starts) else np.zeros(0, np.bool_)
        self._gone: dict[int, npt.NDArray[np.bool_]] = {}

    def gone(self, vector: Vector) -> npt.NDArray[np.bool_]:
        """Row by row of an axis, whether it goes."""
        if id(vector) not in self._gone:
            handles = self.dimensions.resolved(vector)
            gone = self._atoms[np.maximum(handles, 0)]
            composite = handles < 0
            if composite.any():
                gone[composite] = self._sets[-handles[composite] - 1]
            self._gone[id(vector)] = gone
        return self._gone[id(vector)]

    def kept(self, vector: Vector) -> npt.NDArray[np.int64]:
        """The rows of an axis that stay."""
        return np.flatnonzero(~self.gone(vector))

    def length(self, vector: Vector | None, otherwise: int) -> int:
        """How many rows of an axis stay; `otherwise` where it has no units."""
        return otherwise if vector is None else len(vector) - int(self.gone(vector).sum())

    def changes(self, vector: Vector | None) -> bool:
        """Whether an axis loses rows."""
        return vector is not None and bool(self.gone(vector).any())

    def empties(self) -> bool:
        """Whether some axis would have no row left."""
        return any(self.gone(vector).all() for vector in self.dimensions.vectors)

    def sliced(self, value: Tensor, axes: Axes) -> Tensor:
        """The rows of a tensor that stay, along each of its axes."""
        for axis, vector in enumerate(axes):
            if vector is not None and self.changes(vector):
                value = value.index_select(axis, torch.from_numpy(self.kept(vector)))
        return value

    def parameters(self) -> int:
        """How many trained numbers go."""
        total = 0
        for axes, value in self._stored().values():
            left = [self.length(v, n) for v, n in zip(axes, value.shape, strict=True)]
            total += (value.numel() - math.prod(left)) if isinstance(value, nn.Parameter) else 0
        return total

    def bytes(self) -> int:
        """By how many bytes the stored tensors shrink."""
        stored = self._stored().values()
        return sum((v.numel() - self.sliced(v, axes).numel()) * v.element_size() for axes, v in stored)

    def macs(self) -> int:
        """Multiply–accumulates that are left, for one sample."""
        values = self.values()
        return sum(macs(node, values) for node in self.dimensions.computed if node.op == "call_function")

    def values(self) -> Values:
        """The shapes of all values afterwards, for one sample, as a cost model takes them."""
        walk = self.dimensions.walk
        found = dict(walk.values)
        for node, known in walk.axes.items():
            value = walk.values.get(node)
            if isinstance(value, Tensor) and isinstance(known, tuple):
                found[node] = self._shrunk(value, known)
            elif isinstance(value, (list, tuple)) and isinstance(known, list):
                found[node] = [self._shrunk(v, a) for v, a in zip(value, known, strict=True)]
        return found

    def _shrunk(self, value: Any, axes: Axes) -> Any:
        if not any(self.changes(vector) for vector in axes):
            return value
        shape = [self.length(vector, size) for vector, size in zip(axes, value.shape, strict=True)]
        return torch.empty(shape, dtype=value.dtype, device="meta")

    def _stored(self) -> dict[int, tuple[Axes, Tensor]]:
        """Every stored tensor once, tied names together."""
        program = self.dimensions.program
        return {id(axes): (axes, program.get(name)) for name, axes in self.dimensions.tensors.items()}

    def shape(self, node: object) -> tuple[int, ...]:
        """The shape of one tensor of the graph afterwards, for one sample."""
        walk = self.dimensions.walk
        pairs = zip(walk.of(node), walk.shape(node), strict=False)
        known = tuple(self.length(vector, size) for vector, size in pairs)
        return known if known or not isinstance(node, fx.Node) else walk.shape(node)
