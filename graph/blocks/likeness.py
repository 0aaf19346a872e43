"""Whether two pieces of a graph compute alike: a digest of the operators between two nodes.

    h(entry) = stream        h(parameter) = its shape        h(op(a, …)) = hash(op, h(a), …)        h(view(a)) = h(a)

What is read beside the stream (masks, tables, a cache, an encoder's states) counts for nothing, nor does adding it: one
block may have a mask that the next has not. Equal digests mean that parameters, taken in order, correspond.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.graph.blocks.operators import is_layout
from compressor.graph.blocks.reach import Reach, is_value
from compressor.graph.edit import argument, attribute, is_call
from compressor.graph.program import Program

__all__ = ["Likeness", "followed", "likeness"]

aten = torch.ops.aten
_ASIDE = ""
_MASKED = (aten.add.Tensor, aten.where.self, aten.masked_fill.Scalar, aten.masked_fill.Tensor)


@dataclass(frozen=True)
class Likeness:
    """`digest` of what is computed; `parameters` in the order in which they are read."""

    digest: str
    parameters: tuple[str, ...]


def likeness(program: Program, reach: Reach, entry: fx.Node, end: fx.Node) -> Likeness:
    """Of what computes `end` from `entry`."""
    inside = {entry, *reach.between(entry, end)}
    told: dict[fx.Node, str] = {entry: f"stream {_size(entry)}"}
    names: dict[str, None] = {}
    for node in _relevant(reach, inside, entry, end):
        told[node] = _stored(program, node) if node.op == "get_attr" else _told(node, told)
        if node.op != "get_attr":
            read = (attribute(source) for source in node.all_input_nodes if told.get(source, _ASIDE) != _ASIDE)
            names |= dict.fromkeys(name for name in read if name is not None)
    return Likeness(told[end], tuple(names))


def followed(
    program: Program, reach: Reach, begin: fx.Node, nodes: Iterable[fx.Node], end: fx.Node, other: fx.Node
) -> fx.Node | None:
    """What corresponds to `end`, which `nodes` compute from `begin`, when one begins at `other`; None where nothing."""
    twins = {begin: other}
    for node in nodes:
        starts = [twins[source] for source in node.all_input_nodes if source in twins]
        users = [user for start in starts for user in start.users if user not in twins.values()]
        match = (user for user in users if user.target == node.target and _equal(program, reach, node, user, twins))
        if (found := next(match, None)) is None:
            return None
        twins[node] = found
    return twins[end]


def _relevant(reach: Reach, inside: set[fx.Node], entry: fx.Node, end: fx.Node) -> tuple[fx.Node, ...]:
    """What `end` is computed by: nodes inside, and constant expressions that they read; `entry` not."""
    found, waiting = {entry}, [end]
    while waiting:
        node = waiting.pop()
        if node not in found and (node in inside or reach.is_constant(node)):
            found.add(node)
            waiting += node.all_input_nodes
    return reach.sorted(found - {entry})


def _stored(program: Program, node: fx.Node) -> str:
    value = program.get(str(node.target))
    return f"parameter {tuple(value.shape)} {value.dtype}" if isinstance(value, nn.Parameter) else _ASIDE


def _told(node: fx.Node, told: Mapping[fx.Node, str]) -> str:
    known = [told[source] for source in node.all_input_nodes if told.get(source, _ASIDE) != _ASIDE]
    if not known or not is_value(node):
        return _ASIDE
    if is_layout(node) or (len(known) == 1 < len(node.all_input_nodes) and is_call(node, *_MASKED)):
        return known[0]
    return hashlib.sha256(f"{node.target} {_written(_arguments(node), told)}".encode()).hexdigest()


def _arguments(node: fx.Node) -> Any:
    """By name, those that are not as the operator's schema has them by default."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return node.args, dict(node.kwargs)
    given = {each.name: (argument(node, each.name), each.default_value) for each in schema.arguments}
    return {name: value for name, (value, usual) in given.items() if isinstance(value, fx.Node) or value != usual}


def _written(value: Any, told: Mapping[fx.Node, str]) -> str:
    if isinstance(value, fx.Node):
        return told.get(value, _ASIDE)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(item, told) for item in value)}]"
    if isinstance(value, Mapping):
        written = {key: _written(value[key], told) for key in sorted(value)}
        return f"{{{', '.join(f'{key}: {text}' for key, text in written.items() if text != _ASIDE)}}}"
    return _ASIDE if value is None else repr(value)


def _size(node: fx.Node) -> str:
    value = node.meta.get("val")
    return f"{[str(size) for size in value.shape]} {value.dtype}" if isinstance(value, Tensor) else ""


def _equal(program: Program, reach: Reach, one: fx.Node, other: fx.Node, twins: Mapping[fx.Node, fx.Node]) -> bool:
    """Whether two calls have corresponding arguments; `twins` begins with where both begin."""
    begin = next(iter(twins))

    def alike(a: Any, b: Any) -> bool:
        if isinstance(a, fx.Node) and isinstance(b, fx.Node):
            if a in twins:
                return twins[a] is b
            if reach.is_constant(a) and reach.is_constant(b):
                return _constant(program, a) == _constant(program, b)
            beside = a.target == b.target and not (reach.depends(a, begin) or reach.depends(b, twins[begin]))
            return a is b or beside or not (is_value(a) or is_value(b))
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
        return type(a) is type(b) and a == b

    return alike(one.args, other.args) and alike(sorted(one.kwargs.items()), sorted(other.kwargs.items()))


def _constant(program: Program, node: fx.Node) -> str:
    """What stands for an expression of stored tensors: its operator and shape."""
    name = attribute(node)
    value = program.get(name) if name is not None else node.meta.get("val")
    return f"{'' if name is not None else node.target} {tuple(getattr(value, 'shape', ()))}"
