"""Layers between quantize–dequantize pairs as products of codes, for lowerings with integer kernels of their own.

    linear(dq(q), dq(W)) + dq(b)   →   linear_codes(q, s_x, z, W, s_W, b)       also matmul, mm, addmm
    conv(dq(q), dq(W)) + b         →   permute(conv_codes(permute(q), …))       in one or two dimensions, in any groups
    embedding(W, ids) · embedding(s_W, ids)   →   table_codes(W, s_W, ids)       where a product reads W, too

Where the activations have one scale and a zero point, and the weights whole numbers of one scale an output and no zero
point. A bias that is counted in the unit of the sums stays whole. Everything else is left as the pairs say it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export import code_ops  # noqa: F401  so do these
from compressor.export.channels_last import turned
from compressor.graph.edit import (
    add_tensor,
    argument,
    attribute,
    begin,
    finish,
    insert,
    is_call,
    substitute,
    tensor_of,
)
from compressor.graph.program import Program
from compressor.graph.shapes import is_settled

__all__ = ["CONVOLUTIONS", "PRODUCTS", "each_way", "in_codes", "padding_of", "weights_of"]

aten, ops = torch.ops.aten, torch.ops.compressor
_CODES = (torch.int8, torch.uint8)
PRODUCTS: Mapping[Callable[..., Any], tuple[int, int, int | None, int]] = {  # places of x, W, b; W's axis of outputs
    aten.linear.default: (0, 1, 2, 0),
    aten.matmul.default: (0, 1, None, 1),
    aten.mm.default: (0, 1, None, 1),
    aten.addmm.default: (1, 2, 0, 1),
}
CONVOLUTIONS: Mapping[Callable[..., Any], int] = {  # dimensions
    aten.conv1d.default: 1, aten.conv1d.padding: 1, aten.conv2d.default: 2, aten.conv2d.padding: 2
}  # fmt: skip


@dataclass(frozen=True)
class _Codes:
    """What a dequantize node reads: codes, one scale for all of them or one along `axis`, no more than one zero."""

    node: fx.Node
    scale: Tensor
    zero: Tensor
    axis: int
    reads: tuple[fx.Node, fx.Node]


def in_codes(program: Program) -> Program:
    """The program with products of codes; itself where there are none."""
    copy = begin(program)
    shared = _multiplied(copy)
    changed = False
    for node in list(copy.nodes()):
        changed = _rewritten(copy, node, shared) or changed
    return finish(copy) if changed else program


def _multiplied(program: Program) -> set[str]:
    """Names of stored whole numbers whose rows are outputs of a product."""
    return {
        str(node.args[1].args[0].target)  # type: ignore[union-attr]
        for node in program.nodes()
        if is_call(node, aten.linear.default) and is_call(node.args[1], ops.dequantize.default)
    }


def _rewritten(program: Program, node: fx.Node, shared: Collection[str]) -> bool:
    made = _table(program, node, shared) if is_call(node, aten.mul.Tensor) else None
    made = _linear(program, node) if node.target in PRODUCTS else made
    made = _convolution(program, node) if node.target in CONVOLUTIONS else made
    if made is None:
        return False
    substitute(program, node, made)
    return True


def _linear(program: Program, node: fx.Node) -> fx.Node | None:
    """The product in place of the node."""
    at_x, at_weight, at_bias, axis = PRODUCTS[node.target]  # type: ignore[index]
    if node.kwargs:
        return None
    x, weight = _activations(program, node.args[at_x]), weights_of(program, node.args[at_weight], axis)
    if x is None or weight is None or weight[0].dim() != 2 or x.node.meta["val"].dim() < 2:
        return None
    matrix, scale = weight
    bias = node.args[at_bias] if at_bias is not None and at_bias < len(node.args) else None
    given = _stored(program, node, x, matrix if axis == 0 else matrix.T.contiguous(), scale, bias)
    return insert(program, ops.linear_codes.default, (*given, *[None] * 4), like=node)


def _convolution(program: Program, node: fx.Node) -> fx.Node | None:
    dims = CONVOLUTIONS[node.target]  # type: ignore[index]
    x, weight = _activations(program, node.args[0]), weights_of(program, node.args[1], 0)
    if x is None or weight is None:
        return None
    kernel, scale = weight
    groups, shape = int(argument(node, "groups")), x.node.meta["val"].shape
    if kernel.dim() != dims + 2 or len(shape) != dims + 2 or not all(is_settled(size) for size in shape[1:]):
        return None
    stride, dilation = (each_way(argument(node, name), dims, 1) for name in ("stride", "dilation"))
    padding = padding_of(argument(node, "padding"), dims, kernel.shape[2:], dilation)
    q = x.node
    given = _stored(program, node, x, kernel if dims == 2 else kernel.unsqueeze(2), scale, argument(node, "bias"))
    if dims == 1:  # a line is an image of one row
        q = insert(program, aten.unsqueeze.default, (q, 2), like=node)
    shape = [1] * (2 - dims) + stride, padding, [1] * (2 - dims) + dilation, groups
    y = turned(program, node, ops.conv_codes.default, q, *given[1:], *[None] * 4, *shape)
    return insert(program, aten.squeeze.dim, (y, 2), like=node) if dims == 1 else y


def _table(program: Program, node: fx.Node, shared: Collection[str]) -> fx.Node | None:
    """Rows of whole numbers times rows of a column of scales."""
    values, scales = (_given(each) for each in node.args[:2])
    rows = _given(values[0], aten.embedding.default) if values else ()
    column = _given(scales[0], aten.unsqueeze.default) if scales else ()
    if not rows or not column or attribute(rows[0]) not in shared or rows[1] is not scales[1]:
        return None
    if not is_call(node.args[0], aten.to.dtype) or not is_call(node.args[1], aten.embedding.default):
        return None
    codes, scale = tensor_of(program, rows[0]), tensor_of(program, column[0])
    if codes is None or codes.dtype != torch.int8 or scale is None or scale.shape != codes.shape[:1]:
        return None
    return insert(program, ops.table_codes.default, (rows[0], column[0], rows[1]), like=node)


def _given(node: Any, *targets: Callable[..., Any]) -> tuple[Any, ...]:
    """What a call is given; nothing where it is no call, or of no such operator."""
    call = isinstance(node, fx.Node) and node.op == "call_function" and (not targets or node.target in targets)
    return node.args if call else ()


def _stored(
    program: Program, node: fx.Node, x: _Codes, weight: Tensor, scale: Tensor, bias: Any
) -> tuple[fx.Node | None, ...]:
    """(q, s, z, W, s_W, counts, b) as nodes before `node`."""
    name = str(node.name)
    counts, floats = _bias(program, bias, x.scale * scale)

    def store(part: str, value: Tensor) -> fx.Node:
        return add_tensor(program, f"{name}_{part}", value, node, buffer=True)

    return (
        x.node, *x.reads, store("codes", weight), store("code_scales", scale),
        None if counts is None else store("counts", counts), floats,
    )  # fmt: skip


def _activations(program: Program, node: Any) -> _Codes | None:
    """Codes of one scale that some operator gives."""
    found = _codes(program, node)
    if found is None or found.scale.numel() != 1 or found.node.op == "get_attr":
        return None
    return found if found.scale.dim() == 0 and found.node.meta["val"].dtype in _CODES else None


def weights_of(program: Program, node: Any, axis: int) -> tuple[Tensor, Tensor] | None:
    """Stored whole numbers and their scales along `axis`."""
    found = _codes(program, node)
    codes = None if found is None else tensor_of(program, found.node)
    if found is None or codes is None or codes.dtype != torch.int8 or bool(found.zero.any()):
        return None
    size = codes.shape[axis]
    if found.scale.dim() == 0:
        return codes, found.scale.expand(size).contiguous()
    return (codes, found.scale) if found.axis % codes.dim() == axis and found.scale.shape == (size,) else None


def _codes(program: Program, node: Any) -> _Codes | None:
    if not is_call(node, ops.dequantize.default):
        return None
    codes, at_scale, at_zero, axis = node.args
    scale, zero = tensor_of(program, at_scale), tensor_of(program, at_zero)
    if scale is None or zero is None or scale.dtype != torch.float32:
        return None
    return _Codes(codes, scale.detach(), zero.detach(), axis, (at_scale, at_zero))


def _bias(program: Program, bias: Any, unit: Tensor) -> tuple[Tensor | None, fx.Node | None]:
    """In the unit of the sums, or as what it was: floats, which may be computed."""
    found = _codes(program, bias)
    codes = None if found is None else tensor_of(program, found.node)
    if found is None or codes is None or bool(found.zero.any()) or not torch.equal(found.scale, unit):
        return None, bias
    return codes.to(torch.int32), None


def padding_of(given: Any, dims: int, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """As torch's `pad` takes it, last dimension first, of two dimensions; "same" pads more at the end."""
    pairs = []
    if isinstance(given, str):
        reach = [step * (size - 1) if given == "same" else 0 for size, step in zip(kernel, dilation, strict=True)]
        pairs = [(each // 2, each - each // 2) for each in reach]
    else:
        pairs = [(each, each) for each in each_way(given, dims, 0)]
    found = [size for pair in reversed(pairs) for size in pair]
    return found + [0] * (4 - len(found))


def each_way(sizes: Any, dims: int, default: int) -> list[int]:
    each: list[int] = [sizes] if isinstance(sizes, int) else list(sizes or [default])
    return each * dims if len(each) == 1 else each
