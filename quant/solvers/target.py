"""What to round a layer's weights to, where the layers before it are rounded already and no longer give what they did.

    W' = argmin ‖ W X₀ − W' X ‖² + λ ‖W − W'‖²   ⇒   W' = W (X₀Xᵀ + λI) (X Xᵀ + λI)⁻¹

X₀ is what the layer reads in the float network, X what it reads now. Rounding W' and not W makes up for what earlier
layers lost, as far as this one can see it (as in GPTAQ, Li et al., 2025, arXiv:2504.02692).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["target"]

_RIDGE = 0.01  # λ, of the mean diagonal


def target(weight: Tensor, gram: Tensor, cross: Tensor) -> Tensor:
    """W' (groups × outputs × inputs) for W, Σxxᵀ and Σxx₀ᵀ (groups × inputs × inputs); W where that is not finite."""
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype) * ridge[:, None, None]
    factor, failed = torch.linalg.cholesky_ex(gram + eye)
    if bool(failed.any()):
        return weight
    found = torch.cholesky_solve((cross + eye) @ weight.double().mT, factor).mT
    return found.to(weight.dtype) if bool(torch.isfinite(found).all()) else weight
