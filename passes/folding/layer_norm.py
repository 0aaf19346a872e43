"""The affine part of a layer norm or RMS norm into the linears that alone read it.

    W (n(x)·γ + β) + b  =  (W·γ) n(x) + (W β + b)        n(x) = (x − mean)/√(var + ε)  or  x/√(mean(x²) + ε)

An RMS norm is one operator, or the pattern pow, mean, add, rsqrt, mul that frameworks' own classes are captured as.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from compressor.graph import edit
from compressor.passes.folding.affine import into_consumers
from compressor.passes.folding.layers import Affine
from compressor.passes.folding.rule import Bench

__all__ = ["LayerNorm", "is_rms_scale"]

aten = torch.ops.aten
_NORMS = (aten.layer_norm.default, aten.rms_norm.default)


class LayerNorm:
    """The norm stays, without weight and bias; of the pattern only the last multiplication goes."""

    name = "layer_norm"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        return [node for node in bench.program.graph.nodes if _has_affine(node) or is_rms_scale(bench, node)]

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        if (name := bench.kept(node)) is not None:
            return f"{name} is kept as asked"
        if node.target in _NORMS:
            return _fold_operator(bench, node)
        scaled, weight = _operands(bench, node)
        if scaled is None or weight is None:
            return "its weight is computed"
        if scaled.meta["val"].dtype != node.meta["val"].dtype:
            return "its weight changes the dtype"
        reason = _into_linears(bench, node, Affine(scale=weight.detach().double().flatten()))
        if reason is None:
            edit.substitute(bench.program, node, scaled)
        return reason


def is_rms_scale(bench: Bench, node: fx.Node) -> bool:
    """Whether this multiplies x·rsqrt(mean(x²) + ε), possibly cast, by a stored vector."""
    if not edit.is_call(node, aten.mul.Tensor):
        return False
    scaled, weight = _operands(bench, node)
    if scaled is None or weight is None or weight.shape != scaled.meta["val"].shape[-1:]:
        return False
    scaled = _uncast(scaled)
    if not edit.is_call(scaled, aten.mul.Tensor):
        return False
    return any(_is_inverse_root(a, b) or _is_inverse_root(b, a) for a, b in [scaled.args[:2]])


def _has_affine(node: fx.Node) -> bool:
    return node.target in _NORMS and any(edit.argument(node, name) is not None for name in ("weight", "bias"))


def _fold_operator(bench: Bench, node: fx.Node) -> str | None:
    if len(edit.argument(node, "normalized_shape")) != 1:
        return "it normalizes over several dimensions"
    given = [edit.argument(node, "weight"), edit.argument(node, "bias")]
    stored = [edit.tensor_of(bench.program, value) for value in given]
    if any(value is not None and tensor is None for value, tensor in zip(given, stored, strict=True)):
        return "its weight or bias is computed"
    scale, shift = (None if tensor is None else tensor.detach().double() for tensor in stored)
    reason = _into_linears(bench, node, Affine(scale, shift))
    if reason is None:
        for name, value in zip(("weight", "bias"), given, strict=True):
            if value is not None:
                edit.set_argument(node, name, None)
    return reason


def _into_linears(bench: Bench, node: fx.Node, affine: Affine) -> str | None:
    if not affine.is_finite:
        return "its weight or bias is not finite"
    return into_consumers(bench, node, affine, node.meta["val"].dim() - 1)


def _operands(bench: Bench, node: fx.Node) -> tuple[fx.Node | None, torch.Tensor | None]:
    """The computed and the stored operand of a multiplication, in either order."""
    for x, w in (node.args[:2], node.args[1::-1]):
        tensor = edit.tensor_of(bench.program, w)
        if tensor is not None and isinstance(x, fx.Node) and edit.attribute(x) is None:
            return x, tensor
    return None, None


def _uncast(node: fx.Node) -> fx.Node:
    casts = (aten.to.dtype, aten._to_copy.default, aten.type_as.default, aten.to.dtype_layout)
    while edit.is_call(node, *casts):
        node = node.all_input_nodes[0]
    return node


def _is_inverse_root(x: object, root: object) -> bool:
    """Whether `root` is rsqrt(mean(x², last, keepdim) + ε)."""
    if not isinstance(x, fx.Node) or not isinstance(root, fx.Node) or not edit.is_call(root, aten.rsqrt.default):
        return False
    sums = root.all_input_nodes[0]
    mean = sums.all_input_nodes[0] if edit.is_call(sums, aten.add.Tensor, aten.add.Scalar) else sums
    if not edit.is_call(mean, aten.mean.dim) or edit.argument(mean, "dim") not in ([-1], [x.meta["val"].dim() - 1]):
        return False
    square = mean.all_input_nodes[0]
    if edit.is_call(square, aten.pow.Tensor_Scalar):
        return square.args[0] is x and bool(square.args[1] == 2)
    squared = edit.is_call(square, aten.square.default, aten.mul.Tensor)
    return squared and square.all_input_nodes == [x]
