"""A matrix as the product of two thin ones, and which two of a rank lose the least of what the layer computes.

    plain        min ‖W − U·V‖                       W = Σ σ_k u_k v_kᵀ, cut after r of them
    activation   min E‖(W − U·V)·x‖²                 W·G^½ = Σ σ_k u_k v_kᵀ,    G = E[x·xᵀ]

    outputs ≤ inputs:  U = the r largest eigenvectors of W·G·Wᵀ, V = Uᵀ·W
    outputs > inputs:  G = L·Lᵀ, Q = the r largest eigenvectors of Lᵀ·Wᵀ·W·L, U = W·L·Q, V = Qᵀ·L⁻¹

Both are the same optimum (Eckart, Young, 1936, of W·G^½); the smaller eigenproblem is solved. With the covariance of
the inputs in place of G it is the optimum for a layer whose bias takes on what is lost of the mean. Greenformers
(Cahyawijaya, 2021, arXiv:2108.10808) cuts plainly; ASVD (Yuan et al., 2023, arXiv:2312.05821) and SVD-LLM (Wang et
al., 2024, arXiv:2403.07378) weigh by inputs. The scale of each k is split by the square root between U and V.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import InputError

__all__ = ["DAMPING", "Factors", "Spectrum", "balanced", "decompose", "decompose_table", "definite"]

DAMPING = 1e-4  # added to G, relative to the mean of its diagonal; ten times as much until it is positive definite
_TINY = 1e-30


@dataclass(frozen=True)
class Factors:
    """V (rank × inputs) and U (outputs × rank): y = U·(V·x)."""

    first: Tensor
    second: Tensor

    @property
    def rank(self) -> int:
        return len(self.first)

    @property
    def product(self) -> Tensor:
        """Outputs × inputs."""
        return self.second @ self.first


@dataclass(frozen=True)
class Spectrum:
    """A decomposition (in double precision) that can be cut after any rank; the strongest directions come first.

    `energies` are σ²: what each direction contributes to the squared outputs, or to ‖W‖² without a gram matrix.
    """

    first: Tensor
    second: Tensor
    energies: Tensor

    @property
    def full(self) -> int:
        """The rank that loses nothing."""
        return len(self.energies)

    def cut(self, rank: int) -> Factors:
        """The best factors of that rank. Raises InputError for a rank that there is not."""
        if not 1 <= rank <= self.full:
            raise InputError(f"the rank is {rank}, not one of 1 to {self.full}")
        return balanced(Factors(self.first[:rank], self.second[:, :rank]))

    def error(self, rank: int) -> float:
        """‖(W − U·V)·x‖ / ‖W·x‖ of that rank on the inputs that the gram matrix is of."""
        total = self.energies.sum()
        return float((self.energies[rank:].sum() / total.clamp(min=_TINY)).sqrt()) if bool(total > 0) else 0.0

    def rank_of(self, energy: float) -> int:
        """The least rank that holds this share of the energy."""
        wanted = (energy - 1e-12) * self.energies.sum()
        return min(int((self.energies.cumsum(0) < wanted).sum()) + 1, self.full)


def decompose(matrix: Tensor, gram: Tensor | None = None, *, damping: float = DAMPING) -> Spectrum:
    """The spectrum of a matrix (outputs × inputs), on inputs with E[x·xᵀ] or Σ x·xᵀ = `gram` (inputs × inputs).

    Raises InputError for sizes that do not go together, and for what is not finite.
    """
    if matrix.dim() != 2 or (gram is not None and gram.shape != (matrix.shape[1],) * 2):
        given = "" if gram is None else f" and a gram matrix {tuple(gram.shape)}"
        raise InputError(f"a weight {tuple(matrix.shape)}{given} cannot be decomposed")
    weight = matrix.detach().double()
    if not _is_finite(weight) or (gram is not None and not _is_finite(gram)):
        raise InputError("the weight or its inputs hold NaN or infinite values")
    outputs, inputs = weight.shape
    if outputs <= inputs:
        seen = weight if gram is None else weight @ _ridged(gram.detach().double(), damping)
        energies, vectors = _eigen(seen @ weight.T)
        return Spectrum(vectors.T @ weight, vectors, energies)
    lower = None if gram is None else definite(gram.detach().double(), damping)[1]
    seen = weight if lower is None else weight @ lower
    energies, vectors = _eigen(seen.T @ seen)
    first = vectors if lower is None else torch.linalg.solve_triangular(lower.T, vectors, upper=True)
    return Spectrum(first.T, seen @ vectors, energies)


def decompose_table(table: Tensor, weights: Tensor) -> Spectrum:
    """The spectrum of rows that are looked up, `weights` (rows) as often: min Σ_v w_v ‖E_v − A_v·B‖².

    B are the eigenvectors of Eᵀ·diag(w)·E, and A = E·Bᵀ for every row, however seldom it is read.
    Raises InputError for sizes that do not go together, and for what is not finite.
    """
    if table.dim() != 2 or weights.shape != table.shape[:1]:
        raise InputError(f"a table {tuple(table.shape)} and weights {tuple(weights.shape)} do not go together")
    rows = table.detach().double()
    if not (_is_finite(rows) and _is_finite(weights)):
        raise InputError("the table or its weights hold NaN or infinite values")
    full = min(rows.shape)
    energies, vectors = _eigen(rows.T @ (rows * weights.double()[:, None]))
    return Spectrum(vectors[:, :full].T, rows @ vectors[:, :full], energies[:full])


def balanced(factors: Factors) -> Factors:
    """The same product with as much of each direction's scale in one factor as in the other."""
    one, other = factors.first.norm(dim=1), factors.second.norm(dim=0)
    alive = (one > _TINY) & (other > _TINY)
    scale = torch.where(alive, (other / one.clamp(min=_TINY)).clamp(min=_TINY).sqrt(), torch.ones_like(one))
    return Factors(factors.first * scale[:, None], factors.second / scale)


def definite(gram: Tensor, damping: float = DAMPING) -> tuple[Tensor, Tensor]:
    """A gram matrix with a ridge that makes it positive definite, and its lower Cholesky factor."""
    for power in range(8):
        damped = _ridged(gram, damping * 10**power)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not int(failed) and bool(torch.isfinite(lower).all()):
            return damped, lower
    identity = torch.eye(len(gram), dtype=gram.dtype)
    return identity, identity


def _ridged(gram: Tensor, damping: float) -> Tensor:
    damped = gram.clone()
    damped.diagonal().add_(damping * gram.diagonal().mean().clamp(min=_TINY))
    return damped


def _is_finite(tensor: Tensor) -> bool:
    """One sum tells, at a fraction of what looking at each number takes."""
    return bool(torch.isfinite(tensor.sum(dtype=torch.float64)))


def _eigen(square: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, the largest first, none of them negative, and their vectors as columns."""
    values, vectors = torch.linalg.eigh((square + square.T) / 2)
    return values.flip(0).clamp(min=0.0), vectors.flip(1)
