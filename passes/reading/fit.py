"""What to add to a layer's weights so that it gives what it should, in closed form.

    min over D   ‖D·x − r‖² + λ‖D‖²      ⇒      D = r·xᵀ · (x·xᵀ + λI)⁻¹

x are what the layer reads, r what is missing of its outputs. With few rows what fits them fits nothing else: the last
ones only judge at first, and a step that does not lower their error is not made.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RIDGE", "fitted", "products"]

CHUNK = 2048  # rows multiplied at a time
APART = 4  # one row in so many is not fitted at first
RIDGE = 1e-2


def fitted(inputs: Tensor, residual: Tensor, ridge: float = RIDGE) -> Tensor | None:
    """D (outputs × inputs) for rows × inputs and rows × outputs; None where it would not help or is not finite.

    `ridge` is λ, relative to the mean of the diagonal.
    """
    apart = len(inputs) - len(inputs) // APART
    gram, cross = products(inputs[:apart], residual[:apart])
    other, judged = products(inputs[apart:], residual[apart:])
    trial = _solved(gram, cross, ridge)
    if trial is None or not 2 * (trial * judged.T).sum() > ((trial @ other) * trial).sum():
        return None
    return _solved(gram + other, cross + judged, ridge)


def products(inputs: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """x·xᵀ and x·rᵀ: products of a few rows in single precision, which is fast, their sums in double."""
    gram = torch.zeros(inputs.shape[1], inputs.shape[1], dtype=torch.float64)
    cross = torch.zeros(inputs.shape[1], residual.shape[1], dtype=torch.float64)
    for x, r in zip(torch.split(inputs, CHUNK), torch.split(residual, CHUNK), strict=True):
        gram += x.T @ x
        cross += x.T @ r
    return gram, cross


def _solved(gram: Tensor, cross: Tensor, ridge: float) -> Tensor | None:
    added = ridge * gram.diagonal().mean().clamp(min=1e-12)
    factor, failed = torch.linalg.cholesky_ex(gram + torch.diag(added.expand(len(gram))))
    if failed:  # not finite, or so large that it is not definite any more
        return None
    step: Tensor = torch.cholesky_solve(cross, factor).T
    return step if bool(torch.isfinite(step).all()) else None
