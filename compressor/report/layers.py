"""Error added layer by layer: both graphs run on one batch, and outputs of layers that both have are compared.

    error(layer) = min ‖u · compressed − original‖ / ‖original‖        over a fixed sample of elements

A layer's output is the last value computed under its name. What became several layers (`fc.first`, `fc.second`) is
the one it was. Where a layer behind it is missing in the other graph (a batch norm), that one was folded into the layer
before it or into the one behind it, or left out: the value on either side of it is compared, and the nearer one counts.
A layer that lost all its tensors (folded into others) has no counterpart and is absent. u undoes the scales that a pass
moved on purpose from a layer into those that read it (`rescaled` of a pass's result). None of this hides an error: what
a layer gave wrong is read by the next, whose output is wrong then.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
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


def layer_errors(
    original: Program, compressed: Program, batch: Batch, rescaled: Mapping[str, Tensor] | None = None
) -> list[LayerError]:
    """The error at each layer's output on one batch, in the original's order of execution.

    `rescaled`: by layer, what the compressed program's values are multiplied with to be in the original's units.
    Memory: one run's activations plus a sample of each layer. A result that is not finite where the original's is
    counts as an infinite error.
    """
    before, apart = _layers(original, {}), _layers(compressed, {})
    wholes = {name: _whole(name, before, apart) for name in apart}
    after = _layers(compressed, wholes)
    common = [layer for layer in before if layer in after and bool(before[layer]) == bool(after[layer])]
    places = _places(original, common, after.keys(), {}), _places(compressed, common, before.keys(), wholes)
    units = {node: _units(node, rescaled or {}, wholes) for nodes in places[1].values() for node in nodes}
    expected = _samples(original, batch, places[0], {})
    found = _samples(compressed, batch, places[1], units)
    errors = {layer: _least(found[layer], expected[layer]) for layer in common if layer in found and layer in expected}
    return [LayerError(layer, error) for layer, error in errors.items() if error is not None]


def _layers(program: Program, wholes: Mapping[str, str]) -> dict[str, set[str]]:
    """The tensors that each layer reads, by layer, in order; calls that belong to no module are left out."""
    layers: dict[str, set[str]] = {}
    for node in program.nodes():
        layer = _name(node)
        if layer is not None:
            layers.setdefault(wholes.get(layer, layer), set()).update(_stored(node))
    return layers


def _whole(name: str, before: Mapping[str, set[str]], apart: Mapping[str, set[str]]) -> str:
    """The original's layer that one of the compressed program is a part of, by its name; else its own."""
    if name not in before:
        path = name
        while path := path.rpartition(".")[0]:
            if path in before and not (path in apart and bool(apart[path]) == bool(before[path])):
                return path
    return name


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


def _places(
    program: Program, layers: list[str], others: Collection[str], wholes: Mapping[str, str]
) -> dict[str, list[fx.Node]]:
    """The nodes at which each layer is compared: its last, and those past what the other graph has no layer for."""
    last: dict[str, fx.Node] = {}
    wanted = set(layers)
    for node in program.nodes():
        name = _name(node)
        name = name if name is None else wholes.get(name, name)
        if name in wanted and isinstance(node.meta.get("val"), Tensor) and name is not None:
            last[name] = node
    return {layer: _past_folded(node, others, wholes) for layer, node in last.items()}


def _past_folded(node: fx.Node, others: Collection[str], wholes: Mapping[str, str]) -> list[fx.Node]:
    """Follows sole readers that only change the format, or belong to layers which the other graph does not have: the
    nodes on either side of each of those."""
    found: list[fx.Node] = []
    while len(node.users) == 1 and (reader := next(iter(node.users))).op == "call_function":
        name = _name(reader)
        absent = name is not None and wholes.get(name, name) not in others
        if _shape(reader) != _shape(node) or not (absent or kind_of(reader) in _FORMAT_CHANGES):
            break
        if absent:
            found.append(node)
        node = reader
    return list(dict.fromkeys(n if kind_of(n) != "quantize" else n.all_input_nodes[0] for n in (*found, node)))


def _units(node: fx.Node, rescaled: Mapping[str, Tensor], wholes: Mapping[str, str]) -> Tensor | None:
    """What undoes the scale of a value; a change of format has that of what it changes."""
    while kind_of(node) in _FORMAT_CHANGES and node.all_input_nodes:
        node = node.all_input_nodes[0]
    name = _name(node)
    return None if name is None else rescaled.get(name, rescaled.get(wholes.get(name, name)))


def _shape(node: fx.Node) -> str:
    """In words, because comparing dynamic sizes would fix them."""
    value = node.meta.get("val")
    return str(tuple(value.shape)) if isinstance(value, Tensor) else ""


def _samples(
    program: Program, batch: Batch, places: Mapping[str, list[fx.Node]], units: Mapping[fx.Node, Tensor | None]
) -> dict[str, list[_Sample]]:
    """Runs the graph node by node, freeing each value after its last reader, and samples the wanted ones."""
    runner = fx.Interpreter(program.module)
    runner.args_iter = iter(program.flatten(batch))
    wanted = {node for nodes in places.values() for node in nodes}
    seen: dict[fx.Node, _Sample] = {}
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "output":
                break
            runner.env[node] = runner.run_node(node)
            if node in wanted and (sample := _sample(runner.env[node], units.get(node))) is not None:
                seen[node] = sample
            for done in runner.user_to_last_uses.get(node, ()):
                del runner.env[done]
    return {layer: [seen[node] for node in nodes if node in seen] for layer, nodes in places.items()}


def _sample(value: Tensor, units: Tensor | None) -> _Sample | None:
    """The same elements for every value of this many; a copy, since later calls may write in place. None where the
    units are those of a value of another shape."""
    picked = ... if value.numel() <= SAMPLE else _indices(value.numel())
    elements = value.detach().reshape(-1)[picked].clone().double()
    if units is not None:
        try:
            elements *= torch.broadcast_to(units, value.shape).reshape(-1)[picked]
        except RuntimeError:  # the layer was cut since
            return None
    return _Sample(value.shape, elements)


@cache
def _indices(count: int) -> Tensor:
    return torch.randint(count, (SAMPLE,), generator=torch.Generator().manual_seed(0))


def _least(values: list[_Sample], references: list[_Sample]) -> float | None:
    """The least error of any pair of one shape; None where there is none."""
    pairs = [(value, reference) for reference in references for value in values if value.shape == reference.shape]
    return min((_error(value.elements, reference.elements) for value, reference in pairs), default=None)


def _error(value: Tensor, reference: Tensor) -> float:
    known = torch.isfinite(reference)
    distance = (value - reference)[known].norm().item()
    scale = reference[known].norm().item()
    error = distance / scale if scale else distance
    return float("inf") if math.isnan(error) else error
