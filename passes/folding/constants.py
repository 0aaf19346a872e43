"""What depends on no input is computed once.

    f(c₁, c₂, …)  →  c        for stored tensors and numbers c₁, c₂, …

Only what the rest of the graph reads is stored, and only where that does not make the file noticeably larger: a
weight's transpose takes its place, a mask of a million numbers made of two arange calls stays computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.graph import edit
from compressor.passes.folding.rule import Bench, is_pure

__all__ = ["Constants"]


class Constants:
    """A subgraph that reads only stored tensors becomes a stored tensor."""

    name = "constants"

    def matches(self, bench: Bench) -> Iterable[fx.Node]:
        """The last node of each constant subgraph: constant itself, read by something that is not."""
        constant: set[fx.Node] = set()
        for node in bench.program.graph.nodes:
            stored = node.op == "get_attr" and edit.tensor_of(bench.program, node) is not None
            if stored or (is_pure(node) and constant.issuperset(node.all_input_nodes)):
                constant.add(node)
        for node in bench.program.graph.nodes:
            tensor = node.op == "call_function" and isinstance(node.meta.get("val"), Tensor)
            if node in constant and tensor and not constant.issuperset(node.users):
                yield node

    def apply(self, bench: Bench, node: fx.Node) -> str | None:
        inside = _subgraph(node)
        stored = [n for n in inside if n.op == "get_attr"]
        if (name := bench.kept(*stored)) is not None:
            return f"{name} is kept as asked"
        if node in next(iter(reversed(node.graph.nodes))).all_input_nodes:
            return "it is an output of the program"
        shape, itemsize = node.meta["val"].shape, node.meta["val"].element_size()
        if not all(isinstance(size, int) for size in shape):
            return "its size is not known beforehand"
        freed = sum(_bytes(bench, n) for n in stored if inside.issuperset(bench.readers(n)))
        growth = shape.numel() * itemsize - freed
        if growth > bench.allowance:
            return f"storing the result would add {growth:,} bytes"
        bench.allowance -= max(growth, 0)
        value = _evaluate(bench, node)
        trained = any(isinstance(edit.tensor_of(bench.program, n), nn.Parameter) for n in stored)
        new = edit.add_tensor(bench.program, _name(node, stored), value, node, buffer=not trained)
        edit.substitute(bench.program, node, new)
        return None


def _subgraph(node: fx.Node) -> set[fx.Node]:
    found, todo = {node}, [node]
    while todo:
        for source in todo.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                todo.append(source)
    return found


def _bytes(bench: Bench, node: fx.Node) -> int:
    tensor = edit.tensor_of(bench.program, node)
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def _evaluate(bench: Bench, node: fx.Node) -> Any:
    """The value of a constant node; a contiguous tensor that shares no memory with what it was computed from."""
    known: dict[fx.Node, Any] = {}
    for inner in sorted(_subgraph(node)):
        if inner.op == "get_attr":
            known[inner] = bench.program.get(str(inner.target))
        else:
            args, kwargs = fx.node.map_arg((inner.args, inner.kwargs), known.__getitem__)
            with torch.no_grad():
                known[inner] = inner.target(*args, **kwargs)  # type: ignore[operator]
    return known[node].clone(memory_format=torch.contiguous_format)


def _name(node: fx.Node, stored: list[fx.Node]) -> str:
    """After the tensor it was made of, where there is one; else after its layer."""
    if len(stored) == 1:
        return f"{stored[0].target}_{node.name}"
    path = edit.module_path(node)
    return f"{path}.{node.name}" if path else node.name
