"""Batch norm in eval mode into the layer before it, or into the layers after it.

BN(y) = (y − μ)·γ/√(σ² + ε) + β  =  y·s + t        s = γ/√(σ² + ε),  t = β − μ·s
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx

from compressor.graph import edit
from compressor.passes.folding.affine import into_consumers, into_producer
from compressor.passes.folding.layers import Affine
from compressor.passes.folding.rule import Bench

__all__ = ["BatchNorm", "affine_of"]

aten = torch.ops.aten


class BatchNorm:
    """The norm disappears; the layer keeps its parameter names and gains a bias where it had none."""

    name = "batch_norm"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        return [node for node in bench.program.graph.nodes if edit.is_call(node, aten.batch_norm.default)]

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        source, axis = node.args[0], 1
        if (name := bench.kept(node)) is not None:
            return f"{name} is kept as asked"
        if not isinstance(source, fx.Node):
            return "it has no tensor before it"
        affine = affine_of(bench, node)
        if isinstance(affine, str):
            return affine
        before = into_producer(bench, node, source, affine, axis)
        if before is None:
            return None
        after = into_consumers(bench, node, affine, axis)
        if after is None:
            edit.substitute(bench.program, node, source)
            return None
        return f"{before}; {after}"


def affine_of(bench: Bench, node: fx.Node) -> Affine | str:
    """Scale and shift in float64, or why the norm is not a fixed affine map."""
    if edit.argument(node, "training"):
        return "it normalizes with each batch's own statistics"
    stored: dict[str, Tensor | None] = {}
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = edit.argument(node, name)
        tensor = edit.tensor_of(bench.program, value)
        if value is not None and tensor is None:
            return f"its {name} is computed"
        stored[name] = None if tensor is None else tensor.detach().double()
    weight, bias, mean, variance = stored.values()
    if mean is None or variance is None:
        return "it has no running statistics"
    scale = torch.rsqrt(variance + float(edit.argument(node, "eps")))
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    affine = Affine(scale, shift if bias is None else shift + bias)
    return affine if affine.is_finite else "its statistics are not finite"
