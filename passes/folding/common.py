"""Equal subexpressions are computed once, and a tensor stored under several names is read under one.

a = f(x, c);  b = f(x, c)   →   a = f(x, c);  b = a
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import fx

from compressor.graph import edit
from compressor.passes.folding.rule import Bench, is_pure, program_output

__all__ = ["Common"]


class Common:
    """The later of two equal calls goes. Operators that draw random numbers or write are never equal."""

    name = "common"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        """Each node that repeats an earlier one. Lazy: what was merged before makes later ones equal."""
        seen: set[Any] = set()
        for node in bench.program.graph.nodes:
            key = _key(bench, node)
            if key is None:
                continue
            if key in seen:
                yield node
            seen.add(key)

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        first = _earlier(bench, node)
        if first is None:
            return "it is no longer equal to an earlier one"
        if node.op == "get_attr" and (name := bench.kept(node, first)) is not None:
            return f"{name} is kept as asked"
        if (reason := program_output(node, first)) is not None:
            return reason
        edit.substitute(bench.program, node, first)
        return None


def _earlier(bench: Bench, node: fx.Node) -> fx.Node | None:
    """The first node that computes the same; equal calls read the same inputs."""
    key, inputs = _key(bench, node), node.all_input_nodes
    target = None if node.op == "get_attr" else node.target
    pool = inputs[0].users if inputs else node.graph.find_nodes(op=node.op, target=target)
    equal = [other for other in pool if other < node and _key(bench, other) == key]
    return min(equal, default=None)


def _key(bench: Bench, node: fx.Node) -> Any:
    """What two nodes have to agree in to be equal, or None where a node is not to be merged."""
    if node.op == "get_attr":
        tensor = edit.tensor_of(bench.program, node)
        if tensor is None or not node.users:
            return None
        storage = tensor.untyped_storage()._cdata
        return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
    return (node.target, _frozen(node.args), _frozen(node.kwargs)) if is_pure(node) else None


def _frozen(value: Any) -> Any:
    """A hashable form in which 1, 1.0 and True, or 0.0 and −0.0, differ."""
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, slice):
        return "slice", _frozen((value.start, value.stop, value.step))
    return value if isinstance(value, fx.Node) else (type(value), repr(value))
