"""Weights in shared slots written out, for runtimes that do not compute the map (`quant/slots.py`).

linear(x, view(expand(ψ))) → linear(x, W)        everything that depends on ψ alone becomes a stored tensor
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from compressor.graph.edit import add_tensor, begin, finish, layer_name, substitute, tensor_of
from compressor.graph.program import Program

__all__ = ["expanded"]


def expanded(program: Program) -> Program:
    """The program with dense weights; itself where none are in slots."""
    if not any(_is_expansion(node) for node in program.nodes()):
        return program
    copy, values = begin(program), dict[fx.Node, Tensor]()
    with torch.no_grad():
        for node in list(copy.nodes()):
            if _is_expansion(node) or any(source in values for source in node.all_input_nodes):
                stored = {source: values.get(source, tensor_of(copy, source)) for source in node.all_input_nodes}
                if all(value is not None for value in stored.values()):
                    args, kwargs = fx.node.map_arg((node.args, node.kwargs), stored.__getitem__)
                    values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    for node, value in values.items():
        readers = [user for user in node.users if user not in values]
        if readers:
            name = f"{layer_name(readers[0]) if readers[0].op != 'output' else 'shared'}.expanded"
            substitute(copy, node, add_tensor(copy, name, value.contiguous().clone(), node))
    return finish(copy)


def _is_expansion(node: fx.Node) -> bool:
    return node.target is torch.ops.compressor.expand_slots.default
