"""BitNet's norm: a layer norm without parameters before every linear layer in blocks that has none before it.

    linear(x, W)  →  linear(norm(x), r · W)        r the root mean square of x where it is known

It keeps what is rounded by row of one size, whatever the layers before do. Tables and weights that another layer reads
too stay without. The function changes, which only training mends. (Ma et al., 2024, BitNet b1.58, arXiv:2402.17764;
SubLN of Wang et al., 2023, BitNet, arXiv:2310.11453.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch
from compressor.graph.edit import begin, finish, insert, is_call, set_tensor
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer, find_layers, source_of
from compressor.passes.quantizing.ties import tied_names
from compressor.passes.reading.samples import visit

__all__ = ["with_norms"]

aten = torch.ops.aten
EPSILON = 1e-5
_NORMS = (aten.layer_norm.default, aten.rms_norm.default)


def with_norms(program: Program, names: Sequence[str], batches: Sequence[Batch]) -> tuple[Program, list[str]]:
    """A copy with a norm before each of these layers, and the names of those that got one."""
    copy = begin(program)
    every = find_layers(copy)[0]
    tied = tied_names(copy, every)  # their weight is read elsewhere, where it may not grow
    layers = [each for each in every if each.kind in ("linear", "matmul") and each.name in set(names) - tied]
    bare = [layer for layer in layers if not all(is_call(source_of(layer.data(n)), *_NORMS) for n in layer.nodes)]
    sizes = _sizes(copy, bare, batches)
    made: dict[fx.Node, fx.Node] = {}
    for layer in bare:
        for node in layer.nodes:
            data = layer.data(node)
            if data not in made:
                width = int(data.meta["val"].shape[-1])
                args = (data, [width], None, None, EPSILON)
                made[data] = insert(copy, aten.layer_norm.default, args, like=node, before=min(data.users))
            node.update_arg(layer.positions[0], made[data])
        set_tensor(copy, layer.weight, copy.get(layer.weight).detach() * sizes[layer.name])
    return finish(copy), [layer.name for layer in bare]


def _sizes(program: Program, layers: Sequence[Layer], batches: Sequence[Batch]) -> dict[str, float]:
    """The root mean square of each layer's input; 1 where nothing is known of it."""
    owner = {node: layer for layer in layers for node in layer.nodes}
    squares = {layer.name: [0.0, 0] for layer in layers}

    def look(node: fx.Node, args: tuple[object, ...], _: object) -> None:
        layer = owner[node]
        if isinstance(data := args[layer.positions[0]], Tensor):
            squares[layer.name][0] += float(data.double().square().sum())
            squares[layer.name][1] += data.numel()

    visit(program, batches, look, owner)
    return {name: (total / count) ** 0.5 if count and total else 1.0 for name, (total, count) in squares.items()}
