"""Kinds of operators that finding blocks tells apart, mostly by what torch itself says of them."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn

from compressor.graph.blocks.reach import Reach
from compressor.graph.edit import argument, attribute, is_call
from compressor.graph.program import Program

__all__ = ["is_activation", "is_cast", "is_layout", "is_light", "is_weighted", "same_shape"]

aten = torch.ops.aten
_MOVES = {
    operator.getitem, aten.roll.default, aten.clone.default, aten.dropout.default, aten.alias.default,
    aten._unsafe_view.default, aten._to_copy.default, aten.constant_pad_nd.default, aten.pad.default,
    aten.index_select.default, aten.repeat.default, aten.flip.default,
}  # fmt: skip
_NORMS = {
    aten.layer_norm.default, aten.batch_norm.default, aten.group_norm.default, aten.rms_norm.default,
    aten.instance_norm.default,
}  # fmt: skip
_CASTS = {
    aten.to.dtype, aten._to_copy.default, aten.dropout.default, aten.contiguous.default, aten.clone.default,
    aten.alias.default,
}  # fmt: skip
_ARITHMETIC = {aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor, aten.div.Tensor}
_REDUCED = {aten.mean.dim, aten.sum.dim_IntList, aten.var.correction}


def is_layout(node: fx.Node) -> bool:
    """Whether it only moves, takes or repeats elements: a view by its schema, or one of a few that copy."""
    if node.op != "call_function" or node.target in _MOVES:
        return node.op == "call_function"
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable or not schema.returns:
        return False
    info = schema.returns[0].alias_info
    return info is not None and not info.is_write


def is_cast(node: fx.Node) -> bool:
    """Whether it copies its tensor, perhaps to another dtype."""
    return is_call(node, *_CASTS)


def is_light(node: fx.Node) -> bool:
    """Whether it acts on each position alone and multiplies by no matrix: elementwise, a norm, or a part of one."""
    if is_call(node, *_REDUCED):
        return bool(argument(node, "keepdim"))
    return is_call(node, *_NORMS) or is_cast(node) or _is_pointwise(node)


def is_activation(node: fx.Node) -> bool:
    """Whether it is an elementwise function of one tensor, and nothing else."""
    return _is_pointwise(node) and len(node.all_input_nodes) == 1 and node.target not in _ARITHMETIC


def is_weighted(program: Program, reach: Reach, node: fx.Node) -> bool:
    """Whether it computes with a stored parameter of two dimensions or more, itself or an expression of it."""
    if node.op != "call_function" or reach.is_constant(node):
        return False
    return any(reach.is_constant(source) and _is_matrix(program, source) for source in node.all_input_nodes)


def same_shape(one: fx.Node, other: fx.Node) -> bool:
    """Whether both are tensors of the same dtype, and of the same shape in the example."""
    a, b = one.meta.get("val"), other.meta.get("val")
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.dtype != b.dtype:
        return False
    return [_hint(size) for size in a.shape] == [_hint(size) for size in b.shape]


def _hint(size: int | torch.SymInt) -> object:
    """The example's size; two ways to reckon one dynamic size are different expressions."""
    return size.node.hint if isinstance(size, torch.SymInt) else size


def _is_matrix(program: Program, node: fx.Node) -> bool:
    """A constant expression that reads a parameter which is no vector."""
    name = attribute(node)
    if name is None:
        return any(_is_matrix(program, source) for source in node.all_input_nodes)
    value = program.get(name)
    return isinstance(value, nn.Parameter) and sum(size > 1 for size in value.shape) > 1


def _is_pointwise(node: fx.Node) -> bool:
    tags = getattr(node.target, "tags", ())
    return node.op == "call_function" and torch.Tag.pointwise in tags
