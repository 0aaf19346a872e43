"""Activation functions in a captured graph, and between which layers they stand.

A candidate is computed from what one layer makes and read by one layer alone, so that without it the two are one linear
map. What gates is none: a value that is multiplied with another one (squeeze and excite, SwiGLU) scales it, and the
product is no activation. Softmax and norms mix their inputs and are not elementwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph import edit
from compressor.graph.contract import Skip
from compressor.passes.folding.layers import Layer, layer_of
from compressor.passes.folding.rule import Bench

__all__ = ["Activation", "Link", "find_links"]

aten = torch.ops.aten
ACTIVATIONS = {
    aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.gelu.default, aten.silu.default,
    aten.hardswish.default, aten.tanh.default, aten.leaky_relu.default, aten.elu.default, aten.selu.default,
    aten.celu.default, aten.softplus.default, aten.mish.default, aten.hardsigmoid.default, aten.sigmoid.default,
    aten.prelu.default,
}  # fmt: skip
_TIMES = (aten.mul.Tensor, aten.mul_.Tensor)
_LAYOUT = {
    aten.view.default, aten.reshape.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims,
    aten.expand.default, aten.permute.default, aten.transpose.int, aten.contiguous.default, aten.clone.default,
}  # fmt: skip


@dataclass(frozen=True)
class Activation:
    """An activation function, by the name of the layer whose output it takes."""

    name: str
    node: fx.Node


@dataclass(frozen=True)
class Link:
    """A layer and the one that alone reads what it makes, directly or through an activation."""

    first: Layer
    second: Layer
    activation: Activation | None


def find_links(bench: Bench) -> tuple[list[Link], list[Skip]]:
    """Every link in the order of execution, and the activations that are in none, each with the reason."""
    links, skipped, names = [], [], set[str]()
    for node in bench.program.graph.nodes:
        if node.target in ACTIVATIONS:
            name = _name(node, names)
            found = _link(bench, node, name)
            if isinstance(found, str):
                skipped.append(Skip(name, found))
            else:
                links.append(found)
        elif (second := layer_of(bench, node)) is not None:
            first = layer_of(bench, second.source)
            if first is not None and len(first.node.users) == 1:
                links.append(Link(first, second, None))
    return links, skipped


def is_gate(node: fx.Node) -> bool:
    """Whether what it makes is multiplied with another computed value."""
    for user in node.users:
        if edit.is_call(user, *_TIMES):
            others = [source for source in user.all_input_nodes if source is not node]
            if any(source.op != "get_attr" for source in others):
                return True
        elif user.target in _LAYOUT and is_gate(user):
            return True
    return False


def _link(bench: Bench, node: fx.Node, name: str) -> Link | str:
    if is_gate(node):
        return "it is a gate: another value is multiplied with it"
    first, users = layer_of(bench, node.args[0]), list(node.users)
    if first is None and edit.is_call(node.args[0], aten.batch_norm.default):
        return "the batch norm before it stays: its layer is kept, or read elsewhere"
    if first is None:
        return "its input is not the output of one layer with stored weights (a sum, say, or the model's input)"
    if len(first.node.users) > 1:
        return f"what {first.name} makes is also read elsewhere"
    second = layer_of(bench, users[0]) if len(users) == 1 else None
    if second is None or second.source is not node:
        return "it is not read by one layer with stored weights alone"
    if not isinstance(node.meta.get("val"), Tensor):
        return "its shape is not known"
    return Link(first, second, Activation(name, node))


def _name(node: fx.Node, taken: set[str]) -> str:
    """What a user calls it: the layer that makes what it takes, else the module that it came from."""
    source = node.args[0]
    own = edit.layer_name(source) if isinstance(source, fx.Node) and source.op == "call_function" else ""
    base = own or edit.module_path(node) or node.name
    name, number = base, 1
    while name in taken:
        name, number = f"{base}#{number}", number + 1
    taken.add(name)
    return name
