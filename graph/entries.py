"""Entries: smaller programs that compute with rows of one program's tensors, so that all of them are stored once.

    x_entry = x[rows of axis 0, rows of axis 1, …]      for every stored tensor that is not the entry's own

A batch norm's running statistics are an entry's own: fewer units give other activations.
(Yu & Huang, 2019, Universally Slimmable Networks, arXiv:1903.05134.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program

__all__ = ["Entry", "Rows", "of_rows", "renewed"]

Rows = tuple[int, ...] | None  # along an axis; None: all of them


@dataclass(frozen=True)
class Entry:
    """A program, and the rows of its parent's tensors that its own are, axis by axis, by name."""

    program: Program
    rows: Mapping[str, tuple[Rows, ...]]

    def digest(self) -> str:
        """What tells one from another, the same in every process."""
        return hashlib.sha256(f"{self.program.hash()} {sorted(self.rows.items())}".encode()).hexdigest()


def of_rows(value: Tensor, rows: tuple[Rows, ...]) -> Tensor:
    """The rows of a tensor along each axis; a view of it where these are its first ones. Gradients flow back."""
    for axis, kept in enumerate(rows):
        if kept is None or len(kept) == value.shape[axis]:
            continue
        if kept[-1] == len(kept) - 1:  # they ascend
            value = value.narrow(axis, 0, len(kept))
        else:
            value = value.index_select(axis, torch.tensor(kept, device=value.device))
    return value


def renewed(entry: Entry, parent: Program) -> Program:
    """The entry's program with its parent's tensors as they are now, what it has of its own apart."""
    copy, fresh = begin(entry.program), dict[tuple[int, tuple[Rows, ...]], Tensor]()
    tensors = parent.tensors()
    for name, rows in entry.rows.items():
        value = tensors[name].detach()
        tied = fresh.setdefault((id(tensors[name]), rows), of_rows(value, rows).clone())
        set_tensor(copy, name, tied)
    return finish(copy)
