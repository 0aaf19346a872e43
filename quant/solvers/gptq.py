"""GPTQ: columns rounded one after the other, each one's error made up for by the columns that are still to come.

    argmin_ŵ ‖ (w − ŵ) X ‖²,    H = X Xᵀ + λ · mean(diag H) · I,    U = chol(H⁻¹) upper
    e = (w_j − ŵ_j) / U_jj,     w_{j+1…} −= e · U_{j, j+1…}

What a column is rounded to is the caller's: any grid of int8 down to ternary codes. With `order` the columns whose
inputs are largest come first (Frantar et al., 2022, arXiv:2210.17323).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compressor.errors import InputError

__all__ = ["Nearest", "gptq"]

Nearest = Callable[[Tensor, int], Tensor]
"""A column's weights (N,) and which column it is → the values of the grid that they are rounded to, (N,)."""
_AT_ONCE = 128  # columns whose errors reach the others together


def gptq(weight: Tensor, gram: Tensor, nearest: Nearest, *, damping: float = 0.01, order: bool = True) -> Tensor:
    """Values (N, K) on the grid for a matrix (N, K) and the sum of x xᵀ (K, K) over its inputs, in single precision.

    Inputs that are always zero leave their column at the grid's nearest to zero. A matrix H that has no Cholesky factor
    even so is replaced by the identity, and each column is rounded by itself (QMoE's retreat).

    Raises InputError for sizes that do not go together, and for what is not finite.
    """
    if weight.dim() != 2 or gram.shape != (weight.shape[1],) * 2:
        raise InputError(f"a weight {tuple(weight.shape)} and a gram matrix {tuple(gram.shape)} do not go together")
    if not bool(torch.isfinite(weight).all() and torch.isfinite(gram).all()):
        raise InputError("the weight or its inputs hold NaN or infinite values")
    hessian = gram.detach().double().clone()
    left = weight.detach().double().T.contiguous()  # a column of the weight lies in one piece
    dead = hessian.diagonal() <= 0
    hessian.diagonal()[dead] = 1.0
    left[dead] = 0.0
    hessian.diagonal().add_(damping * float(hessian.diagonal().mean()))
    columns = hessian.diagonal().argsort(descending=True, stable=True) if order else torch.arange(len(hessian))
    left = left[columns]
    upper = _factor(hessian[columns][:, columns])
    found = torch.empty_like(left)
    for start in range(0, len(left), _AT_ONCE):
        end = min(start + _AT_ONCE, len(left))
        errors = torch.empty_like(left[start:end])
        for place in range(start, end):
            column = left[place]
            found[place] = nearest(column, int(columns[place]))
            error = (column - found[place]) / upper[place, place]
            left[place + 1 : end].addr_(upper[place, place + 1 : end], error, alpha=-1)
            errors[place - start] = error
        left[end:].addmm_(upper[start:end, end:].T, errors, alpha=-1)
    back = torch.empty_like(columns)
    back[columns] = torch.arange(len(columns))
    return found[back].T.contiguous().float()


def _factor(hessian: Tensor) -> Tensor:
    lower, failed = torch.linalg.cholesky_ex(hessian)
    if int(failed):
        return torch.eye(len(hessian), dtype=hessian.dtype)
    upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    return torch.eye(len(hessian), dtype=hessian.dtype) if int(failed) else upper
