"""What a block is called: the path that its own parameters share, "layers.3"."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from torch import fx

from compressor.graph.edit import attribute

__all__ = ["Names", "shared_path"]


class Names:
    """Gives each block a name of its own: a number is appended where two share a path."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, parameters: Sequence[str], nodes: Collection[fx.Node], end: fx.Node) -> str:
        """The name of a block that computes `end`; parameters that others read, too, have no say."""
        own = {attribute(node) for node in nodes}
        name = shared_path([p for p in parameters if p in own] or parameters) or end.name
        unique, number = name, 1
        while unique in self._taken:
            unique, number = f"{name}#{number}", number + 1
        self._taken.add(unique)
        return unique


def shared_path(names: Sequence[str]) -> str:
    """The module path that all of these tensors lie under; empty where there is none."""
    paths = [name.split(".")[:-1] for name in names]
    levels = zip(*paths, strict=False)
    return ".".join(level[0] for level in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
