"""A convolution's weight as Tucker-2: thin at its input channels and at its output channels, the kernel in between.

    W[o, p, i] ≈ Σ_ab U[o, a] · C[a, p, b] · V[b, i]        p: the positions of the kernel

(Kim et al., 2016, arXiv:1511.06530.) U and C are the best for given V in closed form, with G = E[x·xᵀ] over patches:

    Z = I_p ⊗ V,    B = W·G·Zᵀ·(Z·G·Zᵀ)⁻¹,    U·C = the cut of B on inputs with Z·G·Zᵀ  (`svd.py`)

and V is the cut of Uᵀ·W along its input channels, weighed by what channels go together, averaged over positions: exact
without inputs, a good start with them. The two are found in turn, and the pair with the least output error is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.passes.factorizing.svd import DAMPING, decompose, definite

__all__ = ["Tucker", "tucker"]

TURNS = 2


@dataclass(frozen=True)
class Tucker:
    """V (inner × channels), C (rank × positions·inner) and U (outputs × rank); columns as in `reading/matrix.py`."""

    first: Tensor
    core: Tensor
    second: Tensor

    @property
    def product(self) -> Tensor:
        """Outputs × positions·channels."""
        inner = len(self.first)
        wide = self.core.reshape(-1, inner) @ self.first
        return self.second @ wide.reshape(len(self.core), -1)


def tucker(
    matrix: Tensor, channels: int, rank: int, inner: int, gram: Tensor | None = None, *, damping: float = DAMPING
) -> Tucker:
    """A weight (outputs × positions·channels) of `rank` between core and outputs and `inner` between inputs and core.

    `gram` is E[x·xᵀ] or Σ x·xᵀ of the patches. Raises InputError for ranks or sizes that do not go together.
    """
    outputs, columns = matrix.shape
    if columns % channels or not (1 <= inner <= channels and 1 <= rank <= min(outputs, columns // channels * inner)):
        raise InputError(f"a weight {tuple(matrix.shape)} of {channels} channels has no ranks {rank} and {inner}")
    weight = matrix.detach().double()
    moments = None if gram is None else gram.detach().double().clone()
    if moments is not None:
        moments.diagonal().add_(damping * moments.diagonal().mean().clamp(min=1e-30))
    best, least, projected = None, float("inf"), weight
    for _ in range(TURNS):
        found = _of_inputs(weight, _input_basis(projected, channels, inner, moments), rank, moments)
        error = _error(weight - found.product, moments)
        if error < least:
            best, least = found, error
        projected = torch.linalg.qr(found.second).Q.T @ weight
    if best is None:
        raise InputError("the weight or its inputs hold NaN or infinite values")
    return _evened(best)


def _input_basis(matrix: Tensor, channels: int, inner: int, gram: Tensor | None) -> Tensor:
    """V for outputs × positions·channels."""
    metric = None
    if gram is not None:
        positions = len(gram) // channels
        blocks = gram.reshape(positions, channels, positions, channels)
        metric = blocks.diagonal(dim1=0, dim2=2).mean(-1)
    rows = matrix.reshape(-1, channels)
    if len(rows) <= channels:  # fewer rows than directions: any others complete them
        rows = torch.cat([rows, torch.zeros(channels + 1 - len(rows), channels, dtype=rows.dtype)])
    return decompose(rows, metric).cut(inner).first


def _of_inputs(weight: Tensor, first: Tensor, rank: int, gram: Tensor | None) -> Tucker:
    """U and C for given V."""
    inner, channels = first.shape
    positions = weight.shape[1] // channels
    if gram is None:
        square = torch.kron(torch.eye(positions, dtype=first.dtype), first @ first.T)
        cross = (weight.reshape(-1, channels) @ first.T).reshape(len(weight), -1)
    else:
        half = (gram.reshape(-1, channels) @ first.T).reshape(len(gram), positions * inner)
        square = (half.T.reshape(-1, channels) @ first.T).reshape(positions * inner, -1)
        cross = weight @ half
    square, lower = definite(square, 1e-12)
    best = torch.cholesky_solve(cross.T, lower).T
    factors = decompose(best, square, damping=1e-12).cut(rank)
    return Tucker(first, factors.first, factors.second)


def _error(lost: Tensor, gram: Tensor | None) -> float:
    return float(((lost if gram is None else lost @ gram) * lost).sum())


def _evened(found: Tucker) -> Tucker:
    """The same with V's scale and the core's alike."""
    inner = len(found.first)
    core = found.core.reshape(len(found.core), -1, inner)
    one, other = found.first.norm(dim=1), core.norm(dim=(0, 1))
    alive = (one > 0) & (other > 0)
    scale = torch.where(alive, (other / one.clamp(min=1e-30)).clamp(min=1e-30).sqrt(), torch.ones_like(one))
    return Tucker(found.first * scale[:, None], (core / scale).reshape(len(core), -1), found.second)
