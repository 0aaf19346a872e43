"""Single operators of a program replaced by their decompositions, and nothing around them retraced.

    y = op(x, …)    →    the operators that torch's decomposition of `op` runs on x's fake value

`ExportedProgram.run_decompositions` traces the whole graph instead: seconds, and it turns each reshape into the view
that today's strides allow, which the next trace may refuse.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from compressor.graph.program import Program

__all__ = ["expand"]


def expand(program: Program, needs: Callable[[fx.Node], bool], table: Mapping[Any, Callable[..., Any]]) -> Program:
    """A copy in which every node that `needs` it is decomposed by `table`, or else as torch composes it.

    Raises ValueError where a decomposition makes constants of its own.
    """
    program = program.copy()
    for node in list(program.nodes()):
        if needs(node):
            _inline(program.graph, node, table)
    program.graph.lint()
    program.module.recompile()
    return program


def _inline(graph: fx.Graph, node: fx.Node, table: Mapping[Any, Callable[..., Any]]) -> None:
    traced = _traced(node, table)
    if any(inner.op == "get_attr" for inner in traced.nodes):
        raise ValueError(f"the decomposition of {node.target} makes constants")
    kept = {key: value for key, value in node.meta.items() if key not in ("val", "tensor_meta")}
    sources = iter(node.all_input_nodes)
    mapping: dict[fx.Node, fx.Node] = {}
    results: Any = None
    with graph.inserting_before(node):
        for inner in traced.nodes:
            if inner.op == "placeholder":
                mapping[inner] = next(sources)
            elif inner.op == "output":
                results = fx.node.map_arg(inner.args[0], mapping.__getitem__)
            else:
                mapping[inner] = graph.node_copy(inner, mapping.__getitem__)
                mapping[inner].meta = {**kept, "val": inner.meta.get("val")}
    if isinstance(results, fx.Node):
        node.replace_all_uses_with(results)
    else:
        for user in list(node.users):
            if user.target is not operator.getitem:
                raise ValueError(f"{node.target} returns several values, and {user.name} reads them as one")
            user.replace_all_uses_with(results[user.args[1]])
            graph.erase_node(user)
    graph.erase_node(node)


def _traced(node: fx.Node, table: Mapping[Any, Callable[..., Any]]) -> fx.Graph:
    """What the operator runs on the values of its inputs, which are the graph's placeholders in the same order."""
    inputs = node.all_input_nodes
    leaves, spec = pytree.tree_flatten((node.args, node.kwargs))
    target: Any = node.target

    def run(*values: Any) -> Any:
        given = dict(zip(inputs, values, strict=True))
        args, kwargs = pytree.tree_unflatten([given[x] if isinstance(x, fx.Node) else x for x in leaves], spec)
        return target(*args, **kwargs)

    values = [source.meta["val"] for source in inputs]
    every = (value for other in node.graph.nodes for value in pytree.tree_leaves(other.meta.get("val")))
    mode = next(value.fake_mode for value in every if isinstance(value, FakeTensor))
    with mode, torch.no_grad():
        traced: fx.Graph = make_fx(run, decomposition_table=dict(table))(*values).graph
    return traced
