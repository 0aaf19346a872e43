"""Matrix products with a stored matrix are linears, and a linear maps the last dimension of whatever shape.

    x @ W  =  linear(x, Wᵀ)            addmm(b, x, W)  =  linear(x, Wᵀ, b)
    reshape(linear(reshape(x, (n, c))), (…, d))  =  linear(x)        where x is (…, c)

So the other rules, and quantization, meet one operator.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from compressor.graph import edit, shapes
from compressor.passes.folding.rule import Bench

__all__ = ["MatMul"]

aten = torch.ops.aten
_RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints)


class MatMul:
    """The stored matrix is transposed under its own name."""

    name = "matmul"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        for node in bench.program.graph.nodes:
            if _operands(bench, node) is not None or _flat_linear(node) is not None:
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        linear = _flat_linear(node)
        if linear is not None:
            return _unflatten(bench, node, linear)
        operands = _operands(bench, node)
        if operands is None:
            return "it is no product with a stored matrix"
        x, weight, bias = operands
        if (name := bench.kept(node)) is not None:
            return f"{name} is kept as asked"
        if len(bench.readers(weight)) > 1:
            return f"{weight.target} is read elsewhere too, and its transpose would be stored beside it"
        stored = edit.tensor_of(bench.program, weight)
        if stored is None:
            return "its matrix is computed"
        edit.set_tensor(bench.program, str(weight.target), stored.detach().t().contiguous())
        shapes.infer_node(bench.program, weight)
        arguments = (x, weight) if bias is None else (x, weight, bias)
        edit.substitute(bench.program, node, edit.insert(bench.program, aten.linear.default, arguments, like=node))
        return None


def _operands(bench: Bench, node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node | None] | None:
    """(x, matrix, bias) of a product with a stored matrix on the right."""
    if edit.is_call(node, aten.matmul.default, aten.mm.default):
        bias, x, weight = None, node.args[0], node.args[1]
    elif node.target is aten.addmm.default and edit.argument(node, "beta") == edit.argument(node, "alpha") == 1:
        bias, x, weight = node.args[:3]
    else:
        return None
    stored = edit.tensor_of(bench.program, weight)
    if stored is None or stored.dim() != 2 or not stored.is_floating_point() or not isinstance(x, fx.Node):
        return None
    added = edit.tensor_of(bench.program, bias)
    if edit.attribute(x) is not None or (bias is not None and (added is None or added.shape != stored.shape[1:])):
        return None
    return x, weight, bias  # type: ignore[return-value]


def _flat_linear(node: fx.Node) -> fx.Node | None:
    """The linear on rows whose result this node gives the shape that the rows were flattened from."""
    linear = node.args[0] if node.target in _RESHAPES else None
    if not isinstance(linear, fx.Node) or linear.target is not aten.linear.default:
        return None
    flat = linear.args[0]
    if not isinstance(flat, fx.Node) or flat.target not in _RESHAPES or edit.sole_user(linear) is not node:
        return None
    before, after = flat.all_input_nodes[0].meta["val"], node.meta["val"]
    whole = shapes.same_sizes(before.shape[-1:], flat.meta["val"].shape[-1:])
    same = before.dim() == after.dim() and shapes.same_sizes(before.shape[:-1], after.shape[:-1])
    return linear if whole and same else None


def _unflatten(bench: Bench, node: fx.Node, linear: fx.Node) -> str | None:
    flat: fx.Node = linear.args[0]  # type: ignore[assignment]
    arguments = (flat.args[0], *linear.args[1:])
    new = edit.insert(bench.program, aten.linear.default, arguments, like=linear, kwargs=dict(linear.kwargs))
    edit.substitute(bench.program, node, new)
    bench.program.graph.erase_node(linear)
    return None
