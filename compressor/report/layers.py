"""Error added layer by layer: both graphs run on one batch, and outputs of layers that both have are compared.

    error(layer) = ‖compressed − original‖ / ‖original‖        over a fixed sample of elements

A layer's output is the last value computed under its name that the other graph has too: where a batch norm was
folded into a conv, the conv is compared with what used to be the batch norm's output. A layer that lost all its
tensors (folded into others) has no counterpart and is absent.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch
from compressor.graph.edit import module_path
from compressor.graph.kernels import layer_of
from compressor.graph.program import Program
from compressor.graph.work import kind_of
from compressor.report.model import LayerError

__all__ = ["layer_errors"]

_FORMAT_CHANGES = ("quantize", "dequantize")
SAMPLE = 1 << 14  # elements a layer; at this many the error of the error is under one percent


@dataclass(frozen=True)
class _Sample:
    shape: torch.Size
    elements: Tensor


def layer_errors(original: Program, compressed: Program, batch: Batch) -> list[LayerError]:
    """The error at each layer's output on one batch, in the original's order of execution.

    Memory: one run's activations plus a sample of each layer. A result that is not finite where the original's is
    counts as an infinite error.
    """
    before, after = _layers(original), _layers(compressed)
    common = [layer for layer in before if layer in after and bool(before[layer]) == bool(after[layer])]
    points = _points(original, common, after.keys()), _points(compressed, common, before.keys())
    expected = dict(_samples(original, batch, points[0]))
    found = dict(_samples(compressed, batch, points[1]))
    return [
        LayerError(layer, _error(found[layer].elements, sample.elements))
        for layer, sample in expected.items()
        if layer in found and found[layer].shape == sample.shape
    ]


def _layers(program: Program) -> dict[str, set[str]]:
    """The tensors that each layer reads, by layer, in order; calls that belong to no module are left out."""
    layers: dict[str, set[str]] = {}
    for node in program.nodes():
        layer = _name(node)
        if layer is not None:
            layers.setdefault(layer, set()).update(_stored(node))
    return layers


def _name(node: fx.Node) -> str | None:
    """The layer whose output a call may be; a change of format belongs to none."""
    name = None if kind_of(node) in _FORMAT_CHANGES else layer_of(node)
    return None if name == node.name and not module_path(node) else name


def _stored(node: fx.Node) -> set[str]:
    """The stored tensors that a call reads, behind a dequantize too."""
    found: set[str] = set()
    for argument in node.all_input_nodes:
        if argument.op == "get_attr":
            found.add(str(argument.target))
        elif argument.op == "call_function" and kind_of(argument) == "dequantize":
            found |= {str(a.target) for a in argument.all_input_nodes[:1] if a.op == "get_attr"}
    return found


def _points(program: Program, layers: list[str], others: Collection[str]) -> dict[fx.Node, list[str]]:
    """The node at which each layer is compared: its last, past what the other graph has no layer for."""
    last: dict[str, fx.Node] = {}
    wanted = set(layers)
    for node in program.nodes():
        name = _name(node)
        if name in wanted and isinstance(node.meta.get("val"), Tensor) and name is not None:
            last[name] = node
    points: dict[fx.Node, list[str]] = {}
    for layer, node in last.items():
        points.setdefault(_past_folded(node, others), []).append(layer)
    return points


def _past_folded(node: fx.Node, others: Collection[str]) -> fx.Node:
    """Follows sole readers that only change the format, or belong to layers which the other graph does not have."""
    while len(node.users) == 1 and (reader := next(iter(node.users))).op == "call_function":
        name = _name(reader)
        absent = name is not None and name not in others
        if _shape(reader) != _shape(node) or not (absent or kind_of(reader) in _FORMAT_CHANGES):
            break
        node = reader
    return node if kind_of(node) != "quantize" else node.all_input_nodes[0]


def _shape(node: fx.Node) -> str:
    """In words, because comparing dynamic sizes would fix them."""
    value = node.meta.get("val")
    return str(tuple(value.shape)) if isinstance(value, Tensor) else ""


def _samples(program: Program, batch: Batch, points: Mapping[fx.Node, list[str]]) -> Iterator[tuple[str, _Sample]]:
    """Runs the graph node by node, freeing each value after its last reader, and samples the wanted ones."""
    runner = fx.Interpreter(program.module)
    runner.args_iter = iter(program.flatten(batch))
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "output":
                return
            runner.env[node] = runner.run_node(node)
            for layer in points.get(node, ()):
                yield layer, _sample(runner.env[node])
            for done in runner.user_to_last_uses.get(node, ()):
                del runner.env[done]


def _sample(value: Tensor) -> _Sample:
    """The same elements for every value of this many; a copy, since later calls may write in place."""
    flat = value.detach().reshape(-1)
    elements = flat.clone() if flat.numel() <= SAMPLE else flat[_indices(flat.numel())]
    return _Sample(value.shape, elements.double())


@cache
def _indices(count: int) -> Tensor:
    return torch.randint(count, (SAMPLE,), generator=torch.Generator().manual_seed(0))


def _error(value: Tensor, reference: Tensor) -> float:
    known = torch.isfinite(reference)
    distance = (value - reference)[known].norm().item()
    scale = reference[known].norm().item()
    error = distance / scale if scale else distance
    return float("inf") if math.isnan(error) else error
