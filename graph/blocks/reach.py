"""Which values depend on which: for each node the set of the nodes that it is computed from, as bits of an integer.

above(n) = {n} ∪ ⋃ above(source)        for tensors; a size, or a tensor that has only another's shape, depends
                                        on nothing
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx

from compressor.graph.program import Program

__all__ = ["Reach", "is_value"]

aten = torch.ops.aten
_LIKE = {aten.expand_as.default, aten.view_as.default, aten.reshape_as.default, aten.type_as.default}  # its first alone
_ONLY_SHAPE = {
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.empty_like.default,
    aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default,
}  # fmt: skip


class Reach:
    """The dependences of one program; it is not to be edited meanwhile."""

    def __init__(self, program: Program) -> None:
        self.order = list(program.graph.nodes)
        self.place = {node: index for index, node in enumerate(self.order)}
        self._above: dict[fx.Node, int] = {}
        self._inputs = 0
        for index, node in enumerate(self.order):
            bits = 1 << index
            if is_value(node) and node.target not in _ONLY_SHAPE:
                for source in node.all_input_nodes[:1] if node.target in _LIKE else node.all_input_nodes:
                    bits |= self._above[source]
            self._above[node] = bits
            if node.op == "placeholder" or not is_value(node):
                self._inputs |= 1 << index

    def depends(self, node: fx.Node, on: fx.Node) -> bool:
        """Whether a value is computed from another; each depends on itself."""
        return bool(self._above[node] >> self.place[on] & 1)

    def depends_on_any(self, node: fx.Node, on: Iterable[fx.Node]) -> bool:
        """Whether a value is computed from any of these."""
        return bool(self._above[node] & sum(1 << self.place[other] for other in set(on)))

    def is_constant(self, node: fx.Node) -> bool:
        """Whether it is computed from stored tensors alone."""
        return not self._above[node] & self._inputs

    def between(self, first: fx.Node, last: fx.Node) -> list[fx.Node]:
        """What is computed from `first` and needed by `last`, in order: `last` among them, `first` not."""
        begin, end = self.place[first], self.place[last]
        needed = self._above[last]
        return [
            self.order[index]
            for index in range(begin + 1, end + 1)
            if needed >> index & 1 and self._above[self.order[index]] >> begin & 1
        ]

    def sorted(self, nodes: Iterable[fx.Node]) -> tuple[fx.Node, ...]:
        """In graph order."""
        return tuple(sorted(nodes, key=self.place.__getitem__))

    def owned(self, nodes: Iterable[fx.Node]) -> tuple[fx.Node, ...]:
        """These nodes, and the stored tensors, sizes and tables that they alone read; in graph order."""
        found = set(nodes)
        for node in reversed(self.order):
            aside = self.is_constant(node) or not is_value(node)
            if aside and node.op in ("get_attr", "call_function") and node.users and found.issuperset(node.users):
                found.add(node)
        return self.sorted(found)


def is_value(node: fx.Node) -> bool:
    """Whether it holds a tensor, or several; not a size."""
    value = node.meta.get("val")
    return node.op in ("placeholder", "get_attr", "output") or isinstance(value, Tensor | list | tuple)
