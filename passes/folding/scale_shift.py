"""Multiplication, division, addition and subtraction by constants into neighbouring convs and linears.

    (W x + b)·s + t  =  (s W) x + (s b + t)              W (x·s + t) + b  =  (W s) x + (W t + b)

A constant is a Python number or a stored tensor, one value or one a channel. A scalar factor also passes through
a matrix product into whichever operand a layer makes: attention's (q kᵀ)·s = (q·s) kᵀ.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.passes.folding.affine import into_consumers, into_producer, is_beside_layer
from compressor.passes.folding.layer_norm import is_rms_scale
from compressor.passes.folding.layers import Affine
from compressor.passes.folding.rule import Bench

__all__ = ["ScaleShift"]

aten = torch.ops.aten
_TIMES = (aten.mul.Tensor, aten.mul.Scalar)
_OVER = (aten.div.Tensor, aten.div.Scalar)
_PLUS = (aten.add.Tensor, aten.add.Scalar)
_MINUS = (aten.sub.Tensor, aten.sub.Scalar, aten.rsub.Scalar)


class ScaleShift:
    """The elementwise operator disappears; only the layer's own tensors change."""

    name = "scale_shift"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        """Those beside a layer; the many others (ε, masks, positions) are no candidates."""
        for node in bench.program.graph.nodes:
            split = None if is_rms_scale(bench, node) else _split(bench, node)
            if split is not None and is_beside_layer(bench, node, split[0]):
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        split = _split(bench, node)
        if split is None:
            return "its constant is not one value or one a channel"
        source, affine, axis = split
        if (name := bench.kept(node)) is not None:
            return f"{name} is kept as asked"
        if not affine.is_finite:
            return "its constant is not finite"
        before = into_producer(bench, node, source, affine, axis)
        if before is None:
            return None
        after = into_consumers(bench, node, affine, axis)
        if after is None:
            edit.substitute(bench.program, node, source)
            return None
        return f"{before}; {after}"


def _split(bench: Bench, node: fx.Node) -> tuple[fx.Node, Affine, int | None] | None:
    """An operator with one constant operand as (the other operand, affine map, its dimension or None)."""
    if not edit.is_call(node, *_TIMES, *_OVER, *_PLUS, *_MINUS, aten.neg.default):
        return None
    first, second = node.args[0], node.args[1] if len(node.args) > 1 else -1.0
    flipped = _constant(bench, second) is None
    source, constant = (second, _constant(bench, first)) if flipped else (first, _constant(bench, second))
    if not isinstance(source, fx.Node) or constant is None or not _is_float(source):
        return None
    had, has = source.meta["val"], node.meta["val"]
    if had.dtype != has.dtype or not shapes.same_shape(had, has):
        return None
    wide = [d for d in range(-constant.dim(), 0) if constant.shape[d] != 1]
    if len(wide) > 1:
        return None
    axis = had.dim() + wide[0] if wide else None
    affine = _map(node, constant.flatten() if wide else constant.reshape(()), flipped)
    return None if affine is None else (source, affine, axis)


def _map(node: fx.Node, constant: Tensor, flipped: bool) -> Affine | None:
    """The map of the other operand; `flipped` where the constant is the first one."""
    given = edit.argument(node, "alpha")
    alpha = torch.tensor(1.0 if given is None else float(given), dtype=torch.float64)
    if edit.is_call(node, *_TIMES, aten.neg.default):
        return Affine(scale=constant)
    if edit.is_call(node, *_OVER):
        return None if flipped else Affine(scale=1 / constant)
    if edit.is_call(node, *_PLUS):
        return Affine(alpha, constant) if flipped else Affine(shift=alpha * constant)
    if node.target is aten.rsub.Scalar:
        return Affine(-alpha, constant)
    return Affine(-alpha, constant) if flipped else Affine(shift=-alpha * constant)


def _constant(bench: Bench, value: object) -> Tensor | None:
    """A number or a stored tensor in float64."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=torch.float64)
    stored = edit.tensor_of(bench.program, value)
    return None if stored is None or stored.is_complex() else stored.detach().double()


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype.is_floating_point
