"""What may be removed from a program: free atoms, gathered into dimensions of alike units.

A *unit* is one atom and every slice of every stored tensor that goes with it. A *dimension* is all units that touch
the same tensors along the same axes, with the same number of rows each and none in common: the output channels of a
layer and what reads them, the heads of an attention, the inner units of all its heads. Units of one dimension compete
with one another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor, fx, nn

from compressor.graph.dimensions.labels import Vector
from compressor.graph.dimensions.rules import rule_for
from compressor.graph.dimensions.walk import SLIDES, Walk
from compressor.graph.program import Program
from compressor.graph.work import computed

__all__ = ["Dimension", "Dimensions", "Frozen", "Slice", "analyse"]


@dataclass(frozen=True)
class Slice:
    """Rows of a stored tensor along an axis."""

    tensor: str
    axis: int
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dimension:
    """Alike units, by atom. `spans` are the tensors and axes that each touches, with its number of rows there."""

    name: str
    units: tuple[int, ...]
    spans: tuple[tuple[str, int, int], ...]
    parameters: int  # of one unit

    @property
    def rows(self) -> int:
        """Rows of the first tensor that go with one unit."""
        return self.spans[0][2]


@dataclass(frozen=True)
class Frozen:
    """Rows of a parameter that cannot be removed, and why."""

    tensor: str
    axis: int
    rows: int
    reason: str


class Dimensions:
    """The finished analysis: dimensions with their units, and what is frozen."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.program = walk.program
        self._resolved: dict[int, tuple[Vector, Vector]] = {}
        for vector in self.vectors:
            self.resolved(vector)
        self._by_vector: dict[int, tuple[Vector, dict[int, npt.NDArray[np.int64]]]] = {}

    @cached_property
    def tensors(self) -> dict[str, tuple[Vector | None, ...]]:
        """The labelled axes of every stored tensor, by name."""
        nodes = (node for node in self.program.graph.nodes if node.op == "get_attr")
        return {str(node.target): self.walk.of(node) for node in nodes if self.walk.of(node)}

    @cached_property
    def computed(self) -> frozenset[fx.Node]:
        """The nodes whose work is done at every inference."""
        return computed(self.program.graph.nodes)

    @cached_property
    def slices(self) -> dict[int, tuple[Slice, ...]]:
        """Every free unit that touches a parameter, by atom."""
        found: dict[int, list[Slice]] = defaultdict(list)
        trained: set[int] = set()
        for name, axes in self.tensors.items():
            is_parameter = isinstance(self.program.get(name), nn.Parameter)
            for axis, vector in enumerate(axes):
                for atom, rows in self.rows(vector).items() if vector is not None else ():
                    found[atom].append(Slice(name, axis, rows))
                    trained.update([atom] if is_parameter else [])
        return {atom: tuple(found[atom]) for atom in sorted(trained)}

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """In the order of the graph."""
        alike: dict[tuple[tuple[str, int, int], ...], list[int]] = defaultdict(list)
        for atom, slices in self.slices.items():
            alike[tuple((s.tensor, s.axis, len(s.rows)) for s in slices)].append(atom)
        names: dict[str, int] = defaultdict(int)
        found: list[Dimension] = []
        for spans, atoms in alike.items():
            for units in self._apart(atoms):
                base = self._title(spans)
                names[base] += 1
                name = base if names[base] == 1 else f"{base}#{names[base]}"
                found.append(Dimension(name, units, spans, self._parameters(spans)))
        return tuple(found)

    @cached_property
    def frozen(self) -> tuple[Frozen, ...]:
        """Parameters' rows that stay, by reason."""
        found: list[Frozen] = []
        for name, axes in self.tensors.items():
            for axis, vector in enumerate(axes if isinstance(self.program.get(name), nn.Parameter) else ()):
                counts: dict[str, int] = defaultdict(int)
                for handle in self.walk.labels.resolve(vector, raw=True) if vector is not None else ():
                    reasons = [self.walk.labels.reason(atom) for atom in self.walk.labels.atoms(int(handle), raw=True)]
                    if reasons and all(reasons):
                        counts[str(reasons[0])] += 1
                kernel = axis >= 2 and all(reason.endswith(SLIDES) for reason in counts)  # a matter of course
                found.extend(Frozen(name, axis, rows, reason) for reason, rows in counts.items() if not kernel)
        return tuple(found)

    @cached_property
    def vectors(self) -> tuple[Vector, ...]:
        """Every labelled axis of every value, once."""
        return tuple(self.walk.vectors())

    @cached_property
    def members(self) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """One more than the last atom, the atoms of every set end to end, and where each set begins."""
        return self.walk.labels.members()

    def resolved(self, vector: Vector) -> Vector:
        """An axis in canonical handles, frozen atoms left out."""
        if id(vector) not in self._resolved:
            self._resolved[id(vector)] = (vector, self.walk.labels.resolve(vector))
        return self._resolved[id(vector)][1]

    def rows(self, vector: Vector) -> dict[int, npt.NDArray[np.int64]]:
        """The rows of an axis that go with each free atom."""
        if id(vector) not in self._by_vector:
            places: dict[int, list[int]] = defaultdict(list)
            atoms: dict[int, tuple[int, ...]] = {}
            for row, handle in enumerate(self.resolved(vector).tolist()):
                if handle not in atoms:
                    atoms[handle] = self.walk.labels.atoms(handle)
                for atom in atoms[handle]:
                    places[atom].append(row)
            rows = {atom: np.asarray(found, np.int64) for atom, found in places.items()}
            self._by_vector[id(vector)] = (vector, rows)
        return self._by_vector[id(vector)][1]

    def _apart(self, atoms: Iterable[int]) -> list[tuple[int, ...]]:
        """Alike units in classes that share no rows: four heads, and four inner units of all heads, are two."""
        classes: list[tuple[list[int], set[tuple[int, int]]]] = []
        for atom in atoms:
            rows = {(place, int(row)) for place, s in enumerate(self.slices[atom]) for row in s.rows}
            units, taken = next((c for c in classes if rows.isdisjoint(c[1])), ([], set()))
            if not units:
                classes.append((units, taken))
            units.append(atom)
            taken |= rows
        return [tuple(units) for units, _ in classes]

    def _parameters(self, spans: Iterable[tuple[str, int, int]]) -> int:
        left: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for name, axis, rows in spans:
            value = self.program.get(name)
            if isinstance(value, nn.Parameter) and isinstance(value, Tensor):
                sizes[name] = value.numel()
                left[name] = left.get(name, 1.0) * (1 - rows / value.shape[axis])
        return round(sum(size * (1 - left[name]) for name, size in sizes.items()))

    def _title(self, spans: tuple[tuple[str, int, int], ...]) -> str:
        """The layer that makes the units: the first parameter whose rows they are, else the first at all."""
        weights = [span for span in spans if isinstance(self.program.get(span[0]), nn.Parameter)]
        makers = [span for span in weights if span[1] == 0 and self.program.get(span[0]).dim() > 1] or weights
        name, _, rows = makers[0]
        layer = name.rpartition(".")[0] or name
        return layer if rows == 1 else f"{layer}/{rows}"


def analyse(program: Program) -> Dimensions:
    """The dimension analysis of a program."""
    return Dimensions(Walk.over(program, rule_for))
