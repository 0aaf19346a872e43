"""Products with a vector in front of layers whose inputs' scale no layer before can take.

    W x  →  (W·s)(x ⊙ 1/s)        one product for all layers that read the same x

So it is behind a norm whose output is also a residual (BERT's), where dividing by s in the norm would change more than
these layers. The product costs one pass over x. They are put in with ones and scaled like any layer before; those
that keep their ones are taken out again (SmoothQuant, arXiv:2211.10438, leaves such layers as they are).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import fx

from compressor.graph.edit import add_tensor, insert, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer, find_layers, rank

__all__ = ["add_handles", "drop_handles"]

aten = torch.ops.aten


def add_handles(program: Program, wanted: Collection[str]) -> list[fx.Node]:
    """Put products with ones before the linear layers called `wanted`; the products."""
    groups: dict[fx.Node, list[Layer]] = {}
    for layer in find_layers(program)[0]:
        sources = {layer.data(node) for node in layer.nodes} if layer.kind in ("linear", "matmul") else set()
        if layer.name in wanted and len(sources) == 1 and rank(source := sources.pop()) > 1:
            groups.setdefault(source, []).append(layer)
    return [_handle(program, source, layers) for source, layers in groups.items()]


def _handle(program: Program, source: fx.Node, layers: list[Layer]) -> fx.Node:
    calls = [node for layer in layers for node in layer.nodes]
    first = min(calls)
    ones = torch.ones(int(source.meta["val"].shape[-1]))
    stored = add_tensor(program, f"{layers[0].stem}input_factor", ones, first)
    handle = insert(program, aten.mul.Tensor, (source, stored), like=first)
    for node in calls:
        node.replace_input_with(source, handle)
    return handle


def drop_handles(program: Program, handles: Collection[fx.Node]) -> None:
    """Take out the products whose vectors are still ones."""
    for handle in handles:
        vector = tensor_of(program, handle.args[1])
        if vector is not None and bool((vector == 1).all()):
            handle.replace_all_uses_with(handle.args[0])  # type: ignore[arg-type]
            program.graph.erase_node(handle)
