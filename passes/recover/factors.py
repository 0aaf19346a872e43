"""Layers of a student that are two thin ones in place of one of the teacher's: their product beside what it replaced.

    A·B ↔ W        PELA's bound: (max |A·B − W| − ε)², the mean over layers

The bound keeps the product near the weights that it was cut from while features are distilled (Guo et al., 2023, PELA,
arXiv:2310.10700, from the authors' code). Pairs are told by name, `fc.first.weight` and `fc.second.weight` for
`fc.weight`, and by shapes. What is farther from the teacher's weight than zero has been rewritten since: it is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.graph.program import Program

__all__ = ["EPSILON", "Pair", "bound", "pairs_of", "thinned_from"]

EPSILON = 1e-3
_FIRST, _SECOND, _MORE = "first.weight", "second.weight", ("core.weight", "blocks.weight")


@dataclass(frozen=True)
class Pair:
    """Names of the two thin weights and of the teacher's, as a matrix: second · first, or first · secondᵀ of a table,
    and whether the teacher keeps it transposed."""

    first: str
    second: str
    dense: str
    table: bool
    turned: bool

    def product(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """What the thin layers multiply by, in the teacher's shape flattened to a matrix."""
        first, second = tensors[self.first].flatten(1), tensors[self.second].flatten(1)
        found = first @ second.T if self.table else second @ first
        return found.T if self.turned else found

    def strays(self, tensors: Mapping[str, Tensor], dense: Tensor) -> Tensor:
        """max |A·B − W|."""
        return (self.product(tensors) - dense.flatten(1)).abs().max()


def pairs_of(student: Program, teacher: Program) -> tuple[Pair, ...]:
    """Every pair, in the order of names."""
    ours, theirs = student.tensors(), teacher.tensors()
    found = []
    for stem, dense in _stems(ours, theirs).items():
        if not any(f"{stem}{more}" in ours for more in _MORE):
            found += _nearest(Pair(f"{stem}{_FIRST}", f"{stem}{_SECOND}", dense, False, False), ours, theirs[dense])
    return tuple(found)


def thinned_from(student: Program, teacher: Program) -> dict[str, str]:
    """For each weight of a layer that became two or three thin ones, whatever was done to them since, the name of the
    teacher's weight."""
    ours, theirs = student.tensors(), teacher.tensors()
    stems = _stems(ours, theirs).items()
    roles = (_FIRST, _SECOND, *_MORE)
    return {f"{stem}{role}": dense for stem, dense in stems for role in roles if f"{stem}{role}" in ours}


def _stems(ours: Collection[str], theirs: Collection[str]) -> dict[str, str]:
    """How the names of thin layers begin that the teacher has not, and its dense weight's name, in order."""
    found = {}
    for stem in sorted(name.removesuffix(_SECOND) for name in ours if name.endswith(_SECOND)):
        dense = f"{stem}weight" if not stem.endswith("_") else stem[:-1]
        if f"{stem}{_FIRST}" in ours and dense in theirs:
            found[stem] = dense
    return found


def bound(strays: Sequence[Tensor]) -> Tensor:
    """The mean over layers of (max |A·B − W| − ε)²."""
    return (torch.stack(list(strays)) - EPSILON).square().mean()


def _nearest(pair: Pair, ours: Mapping[str, Tensor], dense: Tensor) -> list[Pair]:
    """The reading of a pair that comes nearest to the weight, unless zero does."""
    if dense.dim() < 2:
        return []
    weight, best, least = dense.detach().flatten(1), [], float(dense.detach().norm())
    for table, turned in ((False, False), (True, False), (False, True)):
        reading = Pair(pair.first, pair.second, pair.dense, table, turned)
        one, other = (ours[name].detach().flatten(1) for name in (pair.first, pair.second))
        if (one.shape[1] != other.shape[1]) if table else (other.shape[1] != one.shape[0]):
            continue
        product = reading.product({name: ours[name].detach() for name in (pair.first, pair.second)})
        if product.shape == weight.shape and (distance := float((product - weight).norm())) < least:
            best, least = [reading], distance
    return best
