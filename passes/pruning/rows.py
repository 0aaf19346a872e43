"""Units and the rows of stored tensors that they own, as index tensors: sums by unit and products by row in one go.

    sums(x)[u]        = Σ over the slices of u  Σ over the slice  x(w)
    factor(t, z)[i,…] = Π over the axes of t  Π over the units u of that axis' row  z(u)

A row may belong to several units (it is *its head's and its inner unit's*), or to none, whose factor is 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.labels import Vector

__all__ = ["Place", "UnitRows"]

Place = tuple[str, int]


class UnitRows:
    """Some units of a program, numbered in the order given. `only` restricts which tensors' axes count.

    Tied tensors count once, under their first name; buffers do not count.
    """

    def __init__(
        self, dimensions: Dimensions, units: Sequence[int], device: torch.device | str = "cpu",
        only: Collection[Place] | None = None,
    ) -> None:  # fmt: skip
        self.dimensions, self.device, self.count = dimensions, device, len(units)
        self._number = {unit: number for number, unit in enumerate(units, 1)}
        self.axes: dict[str, dict[int, Tensor]] = {}
        seen: set[int] = set()
        for name, vectors in dimensions.tensors.items():
            if id(vectors) in seen or not isinstance(dimensions.program.get(name), nn.Parameter):
                continue
            seen.add(id(vectors))
            chosen = [axis for axis in range(len(vectors)) if only is None or (name, axis) in only]
            found = {axis: index for axis in chosen if (index := self.index(vectors[axis])) is not None}
            if found:
                self.axes[name] = found

    def index(self, vector: Vector | None) -> Tensor | None:
        """For each row of an axis the numbers of its units, 0 where there is none; None where no row has any."""
        if vector is None:
            return None
        rows = self.dimensions.rows(vector)
        layers: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = [np.zeros(len(vector), np.int64)]
        for atom in sorted(rows.keys() & self._number.keys()):
            places = rows[atom]
            for depth in range(len(rows) + 1):
                if depth == len(layers):
                    layers.append(np.zeros(len(vector), np.int64))
                free = places[layers[depth][places] == 0]
                layers[depth][free] = self._number[atom]
                places = np.setdiff1d(places, free, assume_unique=True)
                if not len(places):
                    break
        return torch.from_numpy(np.stack(layers)).to(self.device) if any(layer.any() for layer in layers) else None

    def sums(self, elements: Mapping[str, Tensor]) -> Tensor:
        """One number a unit, from one tensor for each parameter; signs are kept."""
        total = torch.zeros(self.count + 1, device=self.device)
        for name, axes in self.axes.items():
            if name not in elements:
                continue
            value = elements[name]
            for axis, index in axes.items():
                others = [other for other in range(value.dim()) if other != axis]
                rows = (value.sum(others) if others else value).float()
                for layer in index:
                    total.index_add_(0, layer, rows)
        return total[1:]

    def along(self, index: Tensor, z: Tensor) -> Tensor:
        """For each row of an axis the product of its units' values; differentiable."""
        padded = torch.cat([z.new_ones(1), z])
        result = padded[index[0]]
        for layer in index[1:]:
            result = result * padded[layer]
        return result

    def factor(self, name: str, z: Tensor) -> Tensor:
        """What a parameter is multiplied by, broadcast along the axes without units."""
        result: Tensor | None = None
        rank = self.dimensions.program.get(name).dim()
        for axis, index in self.axes[name].items():
            along = self.along(index, z).reshape([-1 if other == axis else 1 for other in range(rank)])
            result = along if result is None else result * along
        return z.new_ones(()) if result is None else result

    def added(self, name: str, values: Tensor) -> Tensor:
        """For each element of a parameter the sum of its units' values, broadcast along the axes without units."""
        padded = torch.cat([values.new_zeros(1), values])
        result = values.new_zeros(())
        rank = self.dimensions.program.get(name).dim()
        for axis, index in self.axes[name].items():
            along = padded[index].sum(0)
            result = result + along.reshape([-1 if other == axis else 1 for other in range(rank)])
        return result
