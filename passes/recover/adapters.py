"""Adapters between widths, used only while training.

    A, b = argmin Σ ‖A x_s + b − x_t‖²        by least squares on calibration data, then trained along

A student's features [..., n] become comparable with a teacher's [..., m] without a random start.
(Pan et al., 2023, Stitchable Neural Networks, arXiv:2302.06586: W = pinv([X_s, 1]) X_t.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["adapter", "features_last", "thinned"]

VECTORS = 1024  # feature vectors that the fit takes from a batch
RIDGE = 1e-2  # of the mean diagonal: few vectors would else be fitted exactly, by weights that fit no other


def thinned(ours: Tensor, theirs: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The feature vectors of one batch that a fit looks at, [vectors, n] and [vectors, m], from the same positions."""
    x, y = ours.detach().float().flatten(0, -2), theirs.detach().float().flatten(0, -2)
    if len(x) <= VECTORS:
        return x, y
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:VECTORS].to(x.device)
    return x[chosen], y[chosen]


def adapter(pairs: Sequence[tuple[Tensor, Tensor]]) -> nn.Linear:
    """The affine map from features [vectors, n] to [vectors, m] that fits these pairs best."""
    x, y = (torch.cat(side).double() for side in zip(*pairs, strict=True))
    weight, bias = _fitted(x, y)
    layer = nn.Linear(x.shape[1], y.shape[1], device=x.device)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _fitted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression through the normal equations, on centred data."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    solution = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=x.dtype, device=x.device), x.T @ y)
    return solution.T, mean_y - mean_x @ solution


def features_last(value: Tensor, axis: int) -> Tensor:
    """[samples, ..., features] from a tensor whose features lie along `axis`."""
    return value if axis % value.dim() == value.dim() - 1 else value.movedim(axis, -1)
