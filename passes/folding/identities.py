"""What returns its input, and chains of layout operators that one operator does.

    dropout(x) = x + 0 = x · 1 = pad(x, 0) = cast(x, its own dtype) = reshape(x, its own shape) = x
    reshape(reshape(x, a), b) = reshape(x, b)          permute(permute(x, p), q) = permute(x, p∘q)

Shapes are compared as symbols, so that what holds for the example holds for all sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.passes.folding.rule import Bench, program_output

__all__ = ["Identities"]

aten = torch.ops.aten
_CHECKS = {aten._assert_tensor_metadata.default}
_DROPOUTS = {
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default, aten.feature_alpha_dropout.default,
}  # fmt: skip
_SIZED = {aten.view.default, aten.reshape.default, aten._unsafe_view.default}
# Each of these returns its input's elements in their order, so its input's shape means its input's value.
_LAYOUT = {
    *_SIZED, aten.flatten.using_ints, aten.unflatten.int, aten.unsqueeze.default, aten.squeeze.default,
    aten.squeeze.dim, aten.squeeze.dims, aten.view_as.default, aten.reshape_as.default,
}  # fmt: skip
_COPIES = {
    *_LAYOUT, aten.slice.Tensor, aten.expand.default, aten.expand_as.default, aten.repeat.default, aten.narrow.default,
    aten.alias.default, aten.detach.default, aten.clone.default, aten.contiguous.default, aten.lift_fresh_copy.default,
    aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.to.other, aten._to_copy.default, aten.type_as.default,
}  # fmt: skip
_NEUTRAL = {
    aten.add.Tensor: 0, aten.add.Scalar: 0, aten.sub.Tensor: 0, aten.sub.Scalar: 0,
    aten.mul.Tensor: 1, aten.mul.Scalar: 1, aten.div.Tensor: 1, aten.div.Scalar: 1, aten.pow.Tensor_Scalar: 1,
}  # fmt: skip
_COMMUTE = {aten.add.Tensor, aten.mul.Tensor}
_POOLS = {
    aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default,
    aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default,
}  # fmt: skip
_PADS = {aten.pad.default, aten.constant_pad_nd.default}
_RESIZES = {
    aten.upsample_nearest1d.vec, aten.upsample_nearest2d.vec, aten.upsample_nearest3d.vec,
    aten.upsample_bilinear2d.vec, aten.upsample_linear1d.vec, aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default,
}  # fmt: skip


class Identities:
    """Removes them; of a chain of layout operators only the last stays."""

    name = "identities"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        for node in bench.program.graph.nodes:
            if node.target in _CHECKS or _same_as(bench, node) is not None or _shorter(node) is not None:
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        if node.target in _CHECKS:
            bench.program.graph.erase_node(node)
            return None
        source = _same_as(bench, node)
        if source is not None:
            if (reason := program_output(node, source)) is None:
                edit.substitute(bench.program, node, source)
            return reason
        target, args = _shorter(node) or (None, ())
        if target is None:
            return "it does something"
        edit.substitute(bench.program, node, edit.insert(bench.program, target, args, like=node))
        return None


def _same_as(bench: Bench, node: fx.Node) -> fx.Node | None:
    """The node whose value this one always has."""
    source = node.args[0] if node.op == "call_function" and node.args else None
    if node.target in (aten.cat.default, aten.concat.default) and isinstance(source, list | tuple):
        return source[0] if len(source) == 1 else None  # type: ignore[return-value]
    if node.target in _NEUTRAL:
        return _neutral(bench, node)
    if not isinstance(source, fx.Node) or not isinstance(source.meta.get("val"), Tensor):
        return None
    if node.target in _DROPOUTS:
        idle = not edit.argument(node, "train") or edit.argument(node, "p") == 0
        return source if idle else None
    if node.target in _POOLS or node.target in _RESIZES or node.target in _PADS:
        return source if _is_alike(source, node) and _moves_nothing(node) else None
    if node.target in _COPIES:
        if node.target in _LAYOUT:
            source = _start_of_chain(node)
        return source if _is_alike(source, node) else None
    order = edit.permutation(node)
    return source if order is not None and order == sorted(order) else None


def _is_alike(source: fx.Node, node: fx.Node) -> bool:
    """Same shape, dtype, device and strides: a copy in another memory layout is wanted by some later view."""
    return shapes.is_same(source.meta["val"], node.meta["val"])


def _start_of_chain(node: fx.Node) -> fx.Node:
    """The earliest node of a chain of reshapes that has this one's shape; its direct input where none has."""
    source: Any = node.args[0]
    current = source
    while current.target in _LAYOUT:
        current = current.args[0]
        if shapes.same_shape(current.meta["val"], node.meta["val"]):
            return current  # type: ignore[no-any-return]
    return source  # type: ignore[no-any-return]


def _shorter(node: fx.Node) -> tuple[Any, tuple[Any, ...]] | None:
    """One operator for this one and the layout operator before it."""
    source = node.args[0] if node.op == "call_function" and node.args else None
    if not isinstance(source, fx.Node):
        return None
    if node.target in _SIZED and source.target in _LAYOUT:
        return aten.reshape.default, (source.args[0], edit.argument(node, "shape") or edit.argument(node, "size"))
    outer, inner = edit.permutation(node), edit.permutation(source)
    if outer is not None and inner is not None:
        return aten.permute.default, (source.args[0], [inner[d] for d in outer])
    return None


def _neutral(bench: Bench, node: fx.Node) -> fx.Node | None:
    """x + 0, x − 0, x · 1, x / 1, x¹ where the result has x's own shape and dtype."""
    if len(node.args) < 2:
        return None
    neutral = _NEUTRAL[node.target]  # type: ignore[index]
    scaled = edit.argument(node, "alpha") not in (None, 1)  # 0 + alpha · x is not x
    pairs = [node.args[:2], node.args[1::-1]] if node.target in _COMMUTE and not scaled else [node.args[:2]]
    for x, constant in pairs:
        if isinstance(x, fx.Node) and isinstance(x.meta.get("val"), Tensor) and _is_alike(x, node):
            stored = edit.tensor_of(bench.program, constant)
            number = isinstance(constant, int | float) and constant == neutral
            if number or (stored is not None and bool(torch.eq(stored, neutral).all())):
                return x
    return None


def _moves_nothing(node: fx.Node) -> bool:
    """What the shape alone does not say: a window of one, a scale of one, no padding (1 before, −1 after shifts)."""
    if node.target in _PADS:
        return not any(edit.argument(node, "pad"))
    if node.target in _RESIZES:
        names = {argument.name for argument in node.target._schema.arguments}
        factors = edit.argument(node, "scale_factors") if "scale_factors" in names else None
        return all(factor == 1 for factor in factors or ())
    window = edit.argument(node, "kernel_size")
    if edit.argument(node, "divisor_override") is not None:
        return False
    return all(size == 1 for size in ([window] if isinstance(window, int) else window))
