"""The exactness invariant: zeroing a unit's parameters and slicing the unit off give the same outputs.

Where the program normalizes over units, zeroing would leave the zeros in the statistics; there the reference
normalizes over the kept units only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.graph.capture import capture
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimension, Dimensions, analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import begin, finish
from compressor.graph.functional import functionalize
from compressor.graph.program import Program

__all__ = ["Net", "Reference", "analysed", "disagreement", "explained", "frozen", "some", "spans", "zeroed"]


class Net(nn.Module):
    """A function of itself and its inputs, with parameters of these shapes, and submodules."""

    def __init__(self, function: Callable[..., Any], **parts: tuple[int, ...] | nn.Module) -> None:
        super().__init__()
        self.function = function
        chance = torch.Generator().manual_seed(0)
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                for parameter in part.parameters():
                    nn.init.normal_(parameter, std=0.5, generator=chance)
            else:
                part = nn.Parameter(torch.randn(part, generator=chance))
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def spans(dimensions: Dimensions) -> dict[str, int]:
    """What goes together, as `weight:axis/rows …` in the order of names, and how many units of it there are."""
    found: dict[str, int] = {}
    for dimension in dimensions.dimensions:
        parts = [f"{tensor}:{axis}" + (f"/{rows}" if rows > 1 else "") for tensor, axis, rows in dimension.spans]
        key = " ".join(sorted(parts))
        while key in found:
            key += " again"
        found[key] = len(dimension.units)
    return found


def frozen(dimensions: Dimensions, tensor: str, axis: int = 0) -> str:
    """Why rows of a tensor are frozen, where that is for one reason; empty where none are."""
    reasons = {f.reason for f in dimensions.frozen if (f.tensor, f.axis) == (tensor, axis)}
    assert len(reasons) <= 1, reasons
    return next(iter(reasons), "")


def explained(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """`spans` of a small module, whose every dimension has been checked to be exact in its first and last unit."""
    dimensions = analysed(module, inputs, static=True)
    for dimension in dimensions.dimensions:
        for unit in {dimension.units[0], dimension.units[-1]}:
            error, moved = disagreement(Removal(dimensions, [unit]))
            assert error < 1e-5, f"unit {unit} of {dimension.name}"
            assert moved > 0, f"unit {unit} of {dimension.name}"
    return spans(dimensions)


def analysed(
    module: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, static: bool = False
) -> Dimensions:
    """The dimensions of a module, captured as passes get it."""
    copy = begin(capture(module, args, kwargs, static=static).program)
    functionalize(copy)
    return analyse(finish(copy))


def some(dimension: Dimension, seed: int = 0) -> tuple[int, ...]:
    """All units of a small dimension; of a large one the first, the last, and four between."""
    units = dimension.units
    if len(units) <= 6:
        return units
    return (units[0], *random.Random(seed).sample(units[1:-1], 4), units[-1])


def zeroed(removal: Removal) -> dict[str, Tensor]:
    """The program's parameters with these units at zero; those that are not touched are left out."""
    found: dict[str, Tensor] = {}
    for name, axes in removal.dimensions.tensors.items():
        value = removal.dimensions.program.get(name)
        if not isinstance(value, nn.Parameter) or not any(removal.changes(vector) for vector in axes):
            continue
        found[name] = value.detach().clone()
        for axis, vector in enumerate(axes):
            if vector is not None:
                found[name][(slice(None),) * axis + (torch.from_numpy(removal.gone(vector)),)] = 0.0
    return found


class Reference(fx.Interpreter):
    """Runs the program with zeroed units; calls that compute over units see the kept ones only."""

    def __init__(self, removal: Removal, smaller: Program) -> None:
        super().__init__(removal.dimensions.program.module)
        self.removal, self.dimensions, self.zeroed = removal, removal.dimensions, zeroed(removal)
        self.new = {node.name: node for node in smaller.graph.nodes}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.zeroed[target] if target in self.zeroed else super().get_attr(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        walk = self.dimensions.walk
        if n not in walk.reduced and (n not in walk.contracted or self._vanishes(n)):
            return super().run_node(n)
        cut_node = self.new[n.name]

        def narrowed(node: fx.Node) -> Any:
            value = self.env[n_by_name[node.name]]
            axes = walk.of(n_by_name[node.name])
            return self.removal.sliced(value, axes) if isinstance(value, Tensor) and axes else value

        n_by_name = {node.name: node for node in self.env}
        args, kwargs = fx.node.map_arg((cut_node.args, cut_node.kwargs), narrowed)
        result = cut_node.target(*args, **kwargs)  # type: ignore[operator]
        known = walk.axes[n]
        if isinstance(result, (list, tuple)):
            return type(result)(self._widened(r, a) for r, a in zip(result, known, strict=True))
        return self._widened(result, known)

    def _vanishes(self, n: fx.Node) -> bool:
        """Whether removed units are zero in an operand of a product, so that they add nothing to its sums."""
        if torch.ops.aten.scaled_dot_product_attention.default is n.target:
            return True
        lost = []
        for source in n.all_input_nodes:
            axes, value = self.dimensions.walk.of(source), self.env[source]
            left = self.removal.sliced(value, axes) if isinstance(value, Tensor) else value
            lost.append(not isinstance(value, Tensor) or torch.equal(left.abs().sum(), value.abs().sum()))
        return any(lost)

    def _widened(self, value: Tensor, axes: Any) -> Tensor:
        for axis, vector in enumerate(axes):
            if vector is not None:
                kept = torch.from_numpy(self.removal.kept(vector))
                shape = list(value.shape)
                shape[axis] = len(vector)
                value = value.new_zeros(shape).index_copy(axis, kept, value)
        return value


def _single(program: Program) -> tuple[Tensor, ...]:
    """One sample of the example where the batch is dynamic: the size that the analysis looks at."""
    pairs = zip(program.inputs, program.example, strict=True)
    return tuple(value[:1] if spec.shape and spec.shape[0] == "batch" else value for spec, value in pairs)


def disagreement(removal: Removal) -> tuple[float, float]:
    """How far the sliced program is from the zeroed one, and the zeroed one from the original (relative)."""
    program, smaller = removal.dimensions.program, cut(removal)
    reference = Reference(removal, smaller)
    example = _single(program)
    with torch.no_grad():
        wanted = reference.run(*example)
        got = smaller.module(*example)
        before = program.module(*example)
    floats = [i for i, value in enumerate(before) if value.is_floating_point()]
    scale = max(float(before[i].abs().max()) for i in floats) or 1.0
    error = max(float((got[i] - wanted[i]).abs().max()) for i in floats) / scale
    moved = max(float((before[i] - wanted[i]).abs().max()) for i in floats) / scale
    return error, moved
