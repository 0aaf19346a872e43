"""Names, dtypes and shapes of a program's inputs and outputs, and which of their dimensions are dynamic.

A captured program is flat: a nested input `{"a": x, "b": [y]}` bound to parameter `d` becomes the inputs
`d.a` and `d.b.0`; outputs are named the same way from the structure that the model returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

__all__ = ["TensorSpec", "dtype_name", "dtype_named", "flat_names"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. A dimension is an int, or the name (or expression) of a dynamic one."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": dtype_name(self.dtype), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        return cls(data["name"], dtype_named(data["dtype"]), tuple(data["shape"]))

    def concrete(self, **sizes: int) -> tuple[int, ...]:
        """The shape with each named dimension replaced: `spec.concrete(batch=1)`; unnamed ones become 1."""
        return tuple(d if isinstance(d, int) else sizes.get(d, 1) for d in self.shape)


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float32` → `float32`."""
    return str(dtype).removeprefix("torch.")


def dtype_named(name: str) -> torch.dtype:
    """`float32` → `torch.float32`. Raises KeyError for a name torch does not know."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise KeyError(name)
    return dtype


def flat_names(tree: Any, root: str = "output") -> list[str]:
    """The dotted name of each leaf: dict keys, attribute names and positions, outermost first.

    A bare leaf is called `root`; the members of a bare sequence `root_0`, `root_1`, ….
    """
    paths, _ = pytree.tree_flatten_with_path(tree)
    return [_name(path, root) for path, _ in paths]


def _name(path: tuple[Any, ...], root: str) -> str:
    parts = [str(_step(key)) for key in path]
    if not parts:
        return root
    if isinstance(path[0], pytree.SequenceKey):
        parts[0] = f"{root}_{parts[0]}"
    return ".".join(parts)


def _step(key: Any) -> Any:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key
