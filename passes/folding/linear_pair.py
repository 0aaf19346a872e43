"""Two linear maps with nothing between them into one, where that takes fewer multiply–accumulates.

    W₂ (W₁ x + b₁) + b₂  =  (W₂ W₁) x + (W₂ b₁ + b₂)

Linears; a 1×1 conv and then any conv (W₁ mixes channels at every pixel, so W₂ W₁ has W₂'s kernel; unless b₁ is
zero nothing may be padded between them, because the padding has no b₁); any conv and then a 1×1 conv.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.passes.folding.layers import Layer, layer_of
from compressor.passes.folding.rule import Bench

__all__ = ["LinearPair"]


class LinearPair:
    """The product goes under the names of the layer that is no 1×1 conv; of two linears, the first one's."""

    name = "linear_pair"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        for node in bench.program.graph.nodes:
            second = layer_of(bench, node)
            if second is not None and layer_of(bench, second.source) is not None:
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        second = layer_of(bench, node)
        first = None if second is None else layer_of(bench, second.source)
        if first is None or second is None:
            return "it is no pair of layers"
        reason = _mismatch(first, second) or first.blocked(bench) or second.blocked(bench)
        if reason is not None:
            return reason
        if edit.sole_user(first.node) is not node:
            return f"{first.name} is also read elsewhere"
        (w1, b1), (w2, b2) = first.tensors(bench), second.tensors(bench)
        if _pads_between(first, second) and b1 is not None and bool(b1.any()):
            return f"{second.name} pads its input, where the bias of {first.name} is missing"
        host = first if _is_pointwise(second) else second
        numbers = w1.shape[2] * w2.shape[1] * max(w1.shape[3], w2.shape[3])
        macs, separate = numbers * _positions(host), w1.numel() * _positions(first) + w2.numel() * _positions(second)
        if macs >= separate:
            return f"one layer would take {macs:,} multiply–accumulates a sample, the two take {separate:,}"
        if numbers > w1.numel() + w2.numel():
            return f"one layer would store {numbers:,} weights, the two store {w1.numel() + w2.numel():,}"
        bias = _bias(w2.double(), b1, b2)
        if bias is None and host.bias is not None:
            bias = w2.new_zeros(w2.shape[1])
        host.store(bench, torch.einsum("gmik,gomj->goikj", w1.double(), w2.double()).flatten(3), bias)
        if host is first:
            edit.substitute(bench.program, second.node, first.node)
        else:
            edit.substitute(bench.program, first.node, first.source)
        shapes.infer_node(bench.program, host.node)
        return None


def _mismatch(first: Layer, second: Layer) -> str | None:
    """Why the two do not compose into one layer of either kind."""
    if first.groups != 1 or second.groups != 1:
        return "one of the two is grouped"
    if first.spatial != second.spatial:
        return f"{first.name} and {second.name} are of different kinds"
    if not (_is_pointwise(first) or _is_pointwise(second)):
        return "neither of the two is a 1×1 conv"
    return None


def _is_pointwise(layer: Layer) -> bool:
    """Whether it maps channels at each position alone."""
    plain = not layer.is_padded and all(step == 1 for step in layer.steps("stride"))
    return plain and not layer.transposed and all(size == 1 for size in layer.kernel)


def _pads_between(first: Layer, second: Layer) -> bool:
    """Whether the second sees zeros that the first did not make (a transposed conv's gaps and borders are such)."""
    return not _is_pointwise(second) and (second.is_padded or second.transposed)


def _bias(second: Tensor, b1: Tensor | None, b2: Tensor | None) -> Tensor | None:
    """W₂ b₁ + b₂, None where it is zero."""
    if b1 is None or not bool(b1.any()):
        return b2
    moved = second[0].sum(-1) @ b1.double()
    return moved if b2 is None else moved + b2


def _positions(layer: Layer) -> int:
    """How often one sample uses each weight: output positions (input ones if transposed), dynamic sizes by example."""
    value = (layer.source if layer.transposed else layer.node).meta["val"]
    sizes = value.shape[layer.axis + 1 :] if layer.spatial else value.shape[1:-1]
    return math.prod(size if isinstance(size, int) else int(size.node.hint or 1) for size in sizes)
