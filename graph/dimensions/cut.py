"""Slice units off a program: parameters, buffers, and every constant argument that spoke of their number.

    x[kept rows of axis 0, kept rows of axis 1, …]      for every stored tensor

The result is smaller and computes what the original computes with those units' parameters at zero, except where it
normalizes over units: there it normalizes over the kept ones.
"""

from __future__ import annotations

from torch import Tensor, fx

from compressor.errors import PassError
from compressor.graph.dimensions.arguments import Refit
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import begin, finish, layer_name, set_tensor
from compressor.graph.program import Program

__all__ = ["cut"]


def cut(removal: Removal) -> Program:
    """The program without the units of `removal`; tied names share one smaller tensor.

    Raises PassError when nothing would be left of an axis, or a value does not come out with the shape that the
    analysis foretold.
    """
    dimensions = removal.dimensions
    if removal.empties():
        raise PassError("an axis would be left empty", way_out="Keep at least one unit of every dimension.")
    copy = begin(dimensions.program)
    old = dict(zip(copy.graph.nodes, dimensions.program.graph.nodes, strict=True))
    smaller: dict[int, Tensor] = {}
    for name, axes in dimensions.tensors.items():
        value = copy.get(name)
        new = smaller.setdefault(id(axes), removal.sliced(value.detach(), axes))
        if new.shape != value.shape:
            set_tensor(copy, name, new)
    refit = Refit(removal, copy, old)
    for node in list(copy.graph.nodes):
        if node.op == "call_function":
            refit.node(node)
    finished = finish(copy)
    for node in finished.graph.nodes:
        if node in old:
            _check(refit, node)
    return finished


def _check(refit: Refit, node: fx.Node) -> None:
    """Raises PassError when the inferred shape is not the one foretold; dynamic sizes are left to the run."""
    value, wanted = node.meta.get("val"), refit.removal.shape(refit.old[node])
    if not isinstance(value, Tensor):
        return
    for vector, size, length in zip(refit.axes(node), value.shape, wanted, strict=False):
        if vector is not None and isinstance(size, int) and size != length:
            raise PassError(
                f"{node.target} gives {tuple(value.shape)} after the cut, not {wanted}",
                where=layer_name(node),
                way_out="This is a defect of the dimension analysis; exclude the layer with --keep.",
            )
