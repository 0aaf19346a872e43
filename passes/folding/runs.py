"""Layers with nothing between them, and the one layer that takes their place where that costs less.

With a latency model one layer is better where the program is predicted to run faster with it, and, where it takes no
more multiply–accumulates and weights, where it is not predicted to run slower. Without one, or where the target asks
for small files, fewer multiply–accumulates and no more weights are better. What a pass before took apart to store less
(`factorize`, of layers that the original has as one) is never put together again at more weights, faster or not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.graph.cost import SLACK
from compressor.graph.program import Program
from compressor.passes.folding.composing import LinearMap, composed, map_of
from compressor.passes.folding.layers import Layer, layer_of
from compressor.passes.folding.rule import Bench

__all__ = ["LONGEST", "TOO_MANY", "Run", "before", "costs_more", "merged", "put", "run_map", "runs"]

LONGEST = 8  # layers that are merged at a time
TOO_MANY = 4  # times the multiply–accumulates: no target runs that faster, and none is asked
aten = torch.ops.aten
_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}


@dataclass(frozen=True)
class Run:
    """Layers in the order of execution, each read by the next one alone, and what the first one reads.

    `norm`: a batch norm in eval mode that stands before them.
    """

    source: fx.Node
    layers: tuple[Layer, ...] = ()
    norm: fx.Node | None = None


def before(bench: Bench, layer: Layer) -> Layer | None:
    """The layer that makes what this one reads."""
    return layer_of(bench, layer.source)


def runs(bench: Bench, node: fx.Node) -> list[Run]:
    """The runs that end in `node`, from the one of no layer on; what may not be rewritten ends them."""
    found = [Run(node)]
    layer = layer_of(bench, node)
    while layer is not None and layer.blocked(bench) is None and len(found) <= LONGEST:
        found.append(Run(layer.source, (layer, *found[-1].layers)))
        earlier = before(bench, layer)
        layer = earlier if earlier is not None and len(earlier.node.users) == 1 else None
    return found


def merged(bench: Bench, run: Run) -> str | None:
    """Rewrite a run as one layer, or say why not."""
    last = run.layers[-1].node
    sizes = run_map(bench, run.layers, real=False)
    reason = sizes if isinstance(sizes, str) else costs_more(bench, sizes, run.layers, last, run.source)
    made = reason if reason is not None else run_map(bench, run.layers, real=True)
    if isinstance(made, str):
        return made
    put(bench, made, run.layers, last, run.source)
    return None


def run_map(bench: Bench, layers: Sequence[Layer], *, real: bool, biases: bool = True) -> LinearMap | str:
    """What the layers make together, or why that is no one layer; without `biases` as if there were none."""
    maps = [map_of(layer, bench, real=real) for layer in layers]
    maps = maps if biases else [replace(map_, bias=None, shifts=False) for map_ in maps]
    start: LinearMap | str = maps[0]
    return reduce(lambda made, next_: made if isinstance(made, str) else composed(made, next_), maps[1:], start)


def costs_more(bench: Bench, made: LinearMap, layers: Sequence[Layer], node: fx.Node, source: fx.Node) -> str | None:
    """Why one layer (`made`, sizes are enough) in place of `layers`, which end in `node`, is no gain; else None."""
    numbers, old = made.weight.numel(), sum(_numbers(layer) for layer in layers)
    macs = numbers * _positions(host_of(layers), node)
    separate = sum(_numbers(layer) * _positions(layer, layer.node) for layer in layers)
    if numbers > old and (dense := _undone(bench, layers)):
        return f"one layer would store {numbers:,} weights, apart they store {old:,}: {dense} was made thinner before"
    fewer = macs < separate or (macs == separate and node is not layers[-1].node)  # a sum goes besides
    is_less = fewer and numbers <= old
    for_size = bench.target is not None and bench.target.objective == "size"
    if bench.latency is None or bench.target is None or for_size or macs > TOO_MANY * separate:
        if is_less or (for_size and numbers < old):
            return None
        if not fewer:
            return f"one layer would take {macs:,} multiply–accumulates a sample, apart they take {separate:,}"
        return f"one layer would store {numbers:,} weights, apart they store {old:,}"
    key = (*(layer.name for layer in layers), node.name, made.geometry)
    if key not in bench.slower:  # asking takes longer than everything else, and every round asks again
        now = bench.latency.predict(bench.program, bench.target).latency_ms
        then = bench.latency.predict(_trial(bench, made, layers, node, source), bench.target).latency_ms
        if then * SLACK < now or (is_less and then <= now * SLACK):
            return None
        bench.slower[key] = f"with one layer it is predicted to take {then:.4g} ms, without {now:.4g} ms"
    return bench.slower[key]


def host_of(layers: Sequence[Layer]) -> Layer:
    """Whose names the one layer goes under: the first with the largest kernel."""
    return max(layers, key=lambda layer: (layer.transposed, math.prod(layer.kernel)))


def put(bench: Bench, made: LinearMap, layers: Sequence[Layer], node: fx.Node, source: fx.Node) -> None:
    """Let one layer compute `node` from `source`, in place of `layers`."""
    host = host_of(layers)
    bias = made.weight.new_zeros(made.outputs) if made.bias is None and host.bias is not None else made.bias
    if made.geometry == map_of(host, bench, real=False).geometry:
        host.store(bench, made.weight.flatten(3) if made.kernel else made.weight[..., None], bias)
        host.node.args = (source, *host.node.args[1:])
        new = host.node
    else:
        new = _conv(bench.program, made, bias, host, node, source)
    shapes.infer_node(bench.program, new)
    if new is not node:
        edit.substitute(bench.program, node, new)


def _conv(
    program: Program, made: LinearMap, bias: Tensor | None, host: Layer, node: fx.Node, source: fx.Node
) -> fx.Node:
    dtype, path = host.weight.meta["val"].dtype, str(host.weight.target).rpartition(".")[0]
    flat = made.weight.reshape(made.outputs, made.weight.shape[2], *made.kernel)
    edit.set_tensor(program, str(host.weight.target), flat.to(dtype).contiguous())
    shapes.infer_node(program, host.weight)
    stored = host.bias
    if bias is not None and stored is None:
        stored = edit.add_tensor(program, f"{path}.bias" if path else "bias", bias.to(dtype), node)
    elif bias is not None and stored is not None:
        edit.set_tensor(program, str(stored.target), bias.to(dtype))
        shapes.infer_node(program, stored)
    geometry = [list(made.stride), list(made.padding or ()), list(made.dilation)]
    args = (source, host.weight, stored, *geometry, made.groups)
    return edit.insert(program, _CONV[host.spatial], args, like=host.node, before=node)


def _trial(bench: Bench, made: LinearMap, layers: Sequence[Layer], node: fx.Node, source: fx.Node) -> Program:
    """The program as it would be, with ones for weights."""
    copy = edit.begin(bench.program)
    twins = dict(zip(bench.program.graph.nodes, copy.graph.nodes, strict=True))
    theirs = [
        replace(x, node=twins[x.node], weight=twins[x.weight], bias=None if x.bias is None else twins[x.bias])
        for x in layers
    ]
    weight = torch.ones(made.weight.shape)
    bias = torch.ones(made.outputs) if made.bias is not None else None
    put(Bench(copy), replace(made, weight=weight, bias=bias), theirs, twins[node], twins[source])
    return edit.finish(copy)


def _undone(bench: Bench, layers: Sequence[Layer]) -> str:
    """A weight that a pass before made two of these layers, on purpose; "" where there is none."""
    made = Counter(bench.thin.get(str(layer.weight.target), "") for layer in layers)
    return next((dense for dense, count in made.items() if dense and count > 1), "")


def _numbers(layer: Layer) -> int:
    return int(layer.weight.meta["val"].numel())


def _positions(layer: Layer, node: fx.Node) -> int:
    """How often a sample uses each weight: output positions (input ones if transposed), dynamic sizes by example."""
    value = (layer.source if layer.transposed else node).meta["val"]
    sizes = value.shape[layer.axis + 1 :] if layer.spatial else value.shape[1:-1]
    return math.prod(size if isinstance(size, int) else int(size.node.hint or 1) for size in sizes)
