"""Let the weights that stay make up for those that go: the optimal brain surgeon, column by column.

    H = X·Xᵀ + λI        U = upper Cholesky factor of H⁻¹
    for j = 1 … K        e = W_j ∘ (1 − M_j) / U_jj        W_{j…K} ← W_{j…K} − e · U_{j, j…K}

M is the mask, chosen when its first column's turn comes, from the weights as they are by then: N of each M columns, or
a share of each row in a block of 128. The errors of a block reach the later blocks in one product. (Frantar, Alistarh,
2023, SparseGPT, arXiv:2301.00774, with a score of one's choice; Hassibi, Stork, 1992, optimal brain surgeon.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.passes.sparsifying.pattern import Pattern
from compressor.passes.sparsifying.scores import Ranking

__all__ = ["relative_error", "updated"]

BLOCK = 128
DAMPING = (0.01, 0.1, 1.0)  # λ, relative to the mean of the diagonal; the next where H is not positive definite


def updated(matrix: Tensor, gram: Tensor, pattern: Pattern, ranking: Ranking) -> Tensor | None:
    """Outputs × inputs with the pattern's zeros and the rest corrected; None where H cannot be factored."""
    factor = _factor(gram)
    if factor is None:
        return None
    weight, stays = matrix.T.contiguous(), torch.zeros_like(matrix, dtype=torch.bool)  # a column of W lies in one piece
    width = BLOCK // pattern.group * pattern.group if pattern.group else BLOCK
    for start in range(0, len(weight), width):
        stop = min(start + width, len(weight))
        block, errors = weight[start:stop], torch.zeros_like(weight[start:stop])
        for j in range(stop - start):
            if j % (pattern.group or width) == 0:
                chosen = slice(start + j, start + j + pattern.group if pattern.group else stop)
                stays[:, chosen] = pattern.mask(ranking.of(weight[chosen].T, chosen))
            row = factor[start + j, start:stop]
            errors[j] = block[j] * ~stays[:, start + j] / row[j]
            block[j:].addr_(row[j:], errors[j], alpha=-1)
        weight[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    return weight.T.masked_fill(~stays, 0.0)


def relative_error(before: Tensor, after: Tensor, gram: Tensor | None) -> float:
    """‖(W − Ŵ)·X‖ / ‖W·X‖ over groups × outputs × inputs; without a gram matrix, that of the weights themselves."""
    difference = before - after
    if gram is None:
        return float(difference.norm() / before.norm().clamp(min=1e-30))
    lost, whole = (((value @ gram) * value).sum().clamp(min=0.0) for value in (difference, before))
    return float((lost / whole.clamp(min=1e-30)).sqrt())


def _factor(gram: Tensor) -> Tensor | None:
    """The upper Cholesky factor of the damped inverse. An input that is always zero says nothing of the others."""
    mean = gram.diagonal().mean().clamp(min=1e-30)
    upper: Tensor
    for damping in DAMPING:
        damped = gram.clone()
        damped.diagonal().add_(damping * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if failed:
            continue
        upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not failed and torch.isfinite(upper).all():
            return upper
    return None
