"""Which layers hand their outputs to which, through operators without weights."""

from __future__ import annotations

from collections.abc import Collection

from torch import fx

from compressor.graph.kernels import layer_of
from compressor.graph.program import Program

__all__ = ["edges"]


def edges(program: Program, layers: Collection[str]) -> set[tuple[str, str]]:
    """Pairs of the layers, the one that feeds the other first."""
    sources: dict[fx.Node, frozenset[str]] = {}
    found: set[tuple[str, str]] = set()
    for node in program.graph.nodes:
        before: frozenset[str] = frozenset().union(*(sources.get(each, frozenset()) for each in node.all_input_nodes))
        name = layer_of(node) if node.op == "call_function" else ""
        if name in layers:
            found |= {(source, name) for source in before if source != name}
            sources[node] = frozenset({name})
        elif node.op != "get_attr":
            sources[node] = before
    return found
