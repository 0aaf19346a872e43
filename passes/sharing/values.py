"""The weights that a group is given: those of one of its blocks, their mean, or what fits all its blocks' inputs.

central   W_c, c the block in the middle
mean      (1/n) Σ_b W_b
merged    (Σ_b W_b·H_b) · (Σ_b H_b + λI)⁻¹,  H_b = Σ x·xᵀ over what block b reads: the least squares of all
          blocks' outputs (Jin, Ren, Preotiuc-Pietro, Cheng, 2023, RegMean, arXiv:2212.09849)
fitted    whichever of each block's own, mean and merged changes the network's outputs least, tried on data
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.passes.reading.inputs import walk
from compressor.passes.reading.matrix import from_matrix
from compressor.passes.recover.judge import Judge
from compressor.passes.sharing.clusters import central
from compressor.passes.sharing.together import with_values
from compressor.passes.sharing.units import Unit
from compressor.passes.sparsifying.layers import Layer, find_layers

__all__ = ["MEAN", "MERGED", "Given", "Grams", "Weights", "choose_values", "given"]

Weights = Literal["auto", "fitted", "central", "mean", "merged"]
MEAN, MERGED = "mean", "merged"
RIDGE = 1e-4  # λ, relative to the mean of the diagonal
WIDEST = 4096  # inputs of a layer that is solved for


@dataclass(frozen=True)
class Given:
    """What a group computes with: `source` is a unit's name, "mean" or "merged"; `of` lends its names."""

    source: str
    of: Unit
    values: Mapping[str, Tensor]
    damage: float | None = None


class Grams:
    """What each layer of a program reads, gathered once when it is first asked for."""

    def __init__(self, program: Program, batches: Sequence[Batch], progress: Progress) -> None:
        self.program, self.batches, self.progress = program.copy(), batches, progress  # others write into theirs
        self._found: dict[str, tuple[Layer, Tensor]] | None = None

    def of(self, name: str) -> tuple[Layer, Tensor] | None:
        """The layer that multiplies by this tensor, and its groups × inputs × inputs; None where it is none."""
        if self._found is None:
            layers = [layer for layer in find_layers(self.program)[0] if layer.inputs(self.program) <= WIDEST]
            read = walk(self.program, layers, self.batches, lambda layer: True, self.progress, "sharing")
            self._found = {
                weight: (layer, found.gram)
                for layer, found in read
                if found is not None and found.gram is not None and found.usable
                for weight in layer.weights
            }
        return self._found.get(name)


def given(program: Program, units: Sequence[Unit], source: str, grams: Grams) -> Given:
    """The values that a source stands for. A unit lends its own; the mean is kept under the central unit's names."""
    if source in (MEAN, MERGED):
        of = units[central(tuple(range(len(units))))]
        columns = zip(*(unit.shared for unit in units), strict=True)
        values = {name: _joined(program, names, source, grams) for name, names in zip(of.shared, columns, strict=True)}
        return Given(source, of, values)
    of = next(unit for unit in units if unit.name == source)
    return Given(source, of, {})


def choose_values(program: Program, units: Sequence[Unit], rule: Weights, judge: Judge | None, grams: Grams) -> Given:
    """What the rule gives this group; `program` has the groups before it shared already."""
    middle = units[central(tuple(range(len(units))))].name
    sources = {"central": [middle], MEAN: [MEAN], MERGED: [MERGED]}.get(rule)
    if sources is None and judge is None:
        sources = [middle]
    tried = [given(program, units, source, grams) for source in sources or [*(u.name for u in units), MEAN, MERGED]]
    if judge is None or len(tried) == 1:
        return tried[0]
    damages = [judge.damage(with_values(program, units, one.of, one.values)) for one in tried]
    best = min(range(len(tried)), key=damages.__getitem__)
    return Given(tried[best].source, tried[best].of, tried[best].values, damages[best])


def _joined(program: Program, names: Sequence[str], source: str, grams: Grams) -> Tensor:
    """One tensor for these: their mean, or where layers multiply by all of them the least squares of their outputs."""
    tensors = [program.get(name).detach() for name in names]
    mean = torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
    layers = [grams.of(name) for name in names] if source == MERGED else []
    if not layers or any(found is None for found in layers):
        return mean
    known = [found for found in layers if found is not None]
    matrices = [layer.matrix(program) for layer, _ in known]
    total = torch.stack([gram.double() for _, gram in known]).sum(0)
    ridge = RIDGE * total.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(total.shape[-1])
    near = torch.stack(matrices).mean(0)
    right = sum((matrix - near) @ gram.double() for matrix, (_, gram) in zip(matrices, known, strict=True))
    solved, failed = torch.linalg.solve_ex(total + ridge, torch.as_tensor(right).mT)
    if bool(failed.any()) or not bool(torch.isfinite(solved).all()):
        return mean
    return from_matrix(near + solved.mT, tensors[0], known[0][0].kind)
