"""Stored tensors that share memory (an embedding tied to the output layer): which layers, and who else reads it.

What shares memory is rounded once, in one format, and goes on sharing its codes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, fx

from compressor.graph.edit import attribute, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer

__all__ = ["other_readers", "storage_key", "tied_groups", "tied_names", "turned_names"]


def storage_key(tensor: Tensor) -> tuple[int, ...]:
    """The same for tensors that are the same view of the same memory."""
    return (tensor.data_ptr(), *tensor.shape, *tensor.stride())


def tied_groups(program: Program, layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers that read the same memory, together, in order."""
    groups: dict[tuple[int, ...], list[Layer]] = {}
    for layer in layers:
        groups.setdefault(storage_key(program.get(layer.weight)), []).append(layer)
    return list(groups.values())


def tied_names(program: Program, layers: Sequence[Layer]) -> set[str]:
    """The names of the layers whose weight another of them reads, too."""
    return {each.name for group in tied_groups(program, layers) if len(group) > 1 for each in group}


def turned_names(program: Program, layers: Sequence[Layer]) -> set[str]:
    """The names of the layers whose weight some of them multiply by along one axis, some along the other."""
    groups = (group for group in tied_groups(program, layers) if len({layer.axis for layer in group}) > 1)
    return {layer.name for group in groups for layer in group}


def other_readers(program: Program, layers: Sequence[Layer]) -> set[fx.Node]:
    """What reads the first layer's memory besides these layers' calls."""
    key = storage_key(program.get(layers[0].weight))
    readers: set[fx.Node] = set()
    for node in program.graph.nodes:
        stored = tensor_of(program, node)
        if stored is not None and (attribute(node) == layers[0].weight or storage_key(stored) == key):
            readers.update(node.users)
    return readers.difference(*(layer.nodes for layer in layers))
