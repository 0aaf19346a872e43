"""Labels on every axis of every value in a program: one walk over the graph, each operator by its rule.

An axis is a vector of units (`labels`), or None where it has none of its own: a batch, a sequence, a picture's rows.
What no rule explains freezes the units it touches, with a reason; the walk never stops and never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, fx

from compressor.graph.concrete import Values, concrete_values, op_name
from compressor.graph.dimensions.labels import Labels, Vector
from compressor.graph.edit import layer_name
from compressor.graph.program import Program

__all__ = ["SLIDES", "Axes", "Rule", "Walk"]

Axes = tuple[Vector | None, ...]
Rule = Callable[["Walk", fx.Node], "Axes | list[Axes]"]
SLIDES = "slides over it"  # why the axes of a kernel and of what it moves along stay
PASSES = 5  # freezing what would empty an axis can show another such axis


@dataclass
class Walk:
    """What is known of each value. `inner` holds axes of a grid that an operator sees inside one axis (groups).

    `reduced` are the calls that compute over units (norms, means): without a unit they compute over the rest.
    `contracted` are the products of two activations that sum over units.
    """

    program: Program
    labels: Labels
    values: Values
    axes: dict[fx.Node, Axes | list[Axes]] = field(default_factory=dict)
    stored: dict[tuple[Any, ...], Axes] = field(default_factory=dict)
    inner: dict[fx.Node, Axes] = field(default_factory=dict)
    reduced: set[fx.Node] = field(default_factory=set)
    contracted: set[fx.Node] = field(default_factory=set)

    @classmethod
    def over(cls, program: Program, rule_for: Callable[[fx.Node], Rule]) -> Walk:
        """The finished analysis of a program."""
        values = concrete_values(program, sizes={})  # a length of one would look like any other
        always: set[tuple[str, int]] = set()
        for _ in range(PASSES):
            walk = cls(program, Labels(always), values)
            walk._run(rule_for)
            found = walk._emptying() - always
            if not found:
                break
            always |= found
        walk._freeze_emptying()
        return walk

    def of(self, argument: object) -> Axes:
        """The axes of a tensor argument; of a number, none."""
        known = self.axes.get(argument) if isinstance(argument, fx.Node) else None
        return known if isinstance(known, tuple) else ()

    def shape(self, node: object) -> tuple[int, ...]:
        """The concrete shape of a tensor argument; of a number, none."""
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def unlabelled(self, node: fx.Node) -> Axes | list[Axes]:
        """No units on any axis of what a node returns."""
        value = self.values.get(node)
        if isinstance(value, (list, tuple)):
            return [(None,) * v.dim() if isinstance(v, Tensor) else () for v in value]
        return (None,) * value.dim() if isinstance(value, Tensor) else ()

    def fresh(self, node: fx.Node, part: object, size: int) -> Vector | None:
        """Units of its own for an axis; a single unit can never go, so it gets none."""
        return self.labels.fresh(f"{node.name}:{part}", size) if size > 1 else None

    def unite(self, node: fx.Node, one: Vector | None, two: Vector | None, why: str) -> Vector | None:
        """Two axes agree; an axis without units on one side freezes the other. Returns the agreed axis."""
        if one is None or two is None:
            self.freeze(node, one if two is None else two, why)
            return None
        self.labels.unite(one, two, self._because(node, why))
        return one

    def broadcast(self, node: fx.Node, operands: Sequence[Axes], shapes: Sequence[Sequence[int]], why: str) -> Axes:
        """Axes aligned from the right agree where neither has length 1."""
        rank = max(map(len, shapes), default=0)
        found: list[Vector | None] = []
        for place in range(-rank, 0):
            long = [
                (axes[place], shape[place])
                for axes, shape in zip(operands, shapes, strict=True)
                if len(shape) >= -place and shape[place] != 1
            ]
            agreed = long[0][0] if long else None
            for axis, _ in long[1:]:
                agreed = self.unite(node, agreed, axis, why)
            found.append(agreed)
        return tuple(found)

    def freeze(self, node: fx.Node, vector: Vector | None, why: str) -> None:
        if vector is not None:
            self.labels.freeze(vector, self._because(node, why))

    def freeze_all(self, node: fx.Node, why: str) -> None:
        """Nothing that a node reads may change."""
        for source in node.all_input_nodes:
            known = self.axes.get(source, ())
            for axes in known if isinstance(known, list) else [known]:
                for vector in axes:
                    self.freeze(node, vector, why)

    def split(self, node: fx.Node, part: object, vector: Vector | None, shape: Sequence[int]) -> Axes:
        """One axis seen as a grid of this shape."""
        if vector is None:
            return (None,) * len(shape)
        table = np.arange(len(vector)).reshape(tuple(shape))
        return self.split_table(node, part, vector, table)

    def split_table(self, node: fx.Node, part: object, vector: Vector, table: Vector) -> Axes:
        """The grid whose element at a position is the unit `table[position]`; sides of length 1 get no units."""
        sides = [axis for axis, size in enumerate(table.shape) if size > 1]
        squeezed = table.reshape([table.shape[axis] for axis in sides])
        why = self._because(node, "splits an axis in a way that does not fit what else is known of it")
        found = dict(zip(sides, self.labels.split(vector, squeezed, f"{node.name}:{part}", why), strict=True))
        return tuple(_labelled(found.get(axis)) for axis in range(table.ndim))

    def _because(self, node: fx.Node, why: str) -> str:
        return f"{layer_name(node)} ({op_name(node)}): {why}"

    def _run(self, rule_for: Callable[[fx.Node], Rule]) -> None:
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.axes[node] = self.unlabelled(node)
            elif node.op == "get_attr":
                self.axes[node] = self._read(node)
            elif node.op == "output":
                self._freeze_outputs(node)
            elif node.op == "call_function":
                self.axes[node] = self._explained(node, rule_for(node))
            else:
                self.freeze_all(node, "is not an operator that can be looked into")
                self.axes[node] = self.unlabelled(node)

    def _explained(self, node: fx.Node, rule: Rule) -> Axes | list[Axes]:
        """What a rule finds, if it fits the value's rank; a rule that errs freezes, it does not mislead."""
        value = self.values.get(node)
        try:
            found = rule(self, node)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            self.freeze_all(node, f"is called in a way that is not understood ({type(error).__name__})")
            return self.unlabelled(node)
        if isinstance(found, tuple) and isinstance(value, Tensor) and len(found) != value.dim():
            self.freeze_all(node, f"gives {value.dim()} axes where {len(found)} were expected")
            return self.unlabelled(node)
        return found

    def _read(self, node: fx.Node) -> Axes:
        """A stored float tensor has units on each axis; tied names have the same ones. Indices and masks have none."""
        value = self.program.get(str(node.target))
        if not isinstance(value, Tensor):
            return ()
        if not value.dtype.is_floating_point:
            return (None,) * value.dim()
        name = str(node.target)
        place = value.untyped_storage().data_ptr() if value.numel() else name
        key = (place, value.storage_offset(), tuple(value.shape), value.stride())
        if key not in self.stored:
            self.stored[key] = tuple(
                self.labels.fresh(f"{name}:{axis}", size) if size > 1 else None for axis, size in enumerate(value.shape)
            )
        return self.stored[key]

    def _freeze_outputs(self, node: fx.Node) -> None:
        names = iter(spec.name for spec in self.program.outputs)
        for source in node.args[0]:  # type: ignore[union-attr]
            name = next(names)
            for vector in self.of(source):
                if vector is not None:
                    self.labels.freeze(vector, f"is the model's output {name!r}")

    def vectors(self) -> list[Vector]:
        """Every labelled axis, once."""
        found = [axes for known in self.axes.values() for axes in (known if isinstance(known, list) else [known])]
        unique = {id(v): v for axes in [*found, *self.inner.values()] for v in axes if v is not None}
        return list(unique.values())

    def _emptying(self) -> set[tuple[str, int]]:
        atoms = {atom for vector in self.vectors() for atom in self.labels.emptying(vector)}
        return {self.labels.origin(atom) for atom in atoms if self.labels.reason(atom) is None}

    def _freeze_emptying(self) -> None:
        for vector in self.vectors():
            for atom in self.labels.emptying(vector):
                self.labels.freeze(np.asarray([atom]), "an axis would be left empty without it")


def _labelled(vector: Vector | None) -> Vector | None:
    return None if vector is None or not vector.any() else vector
