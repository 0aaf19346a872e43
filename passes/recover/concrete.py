"""The hard concrete distribution: a mask that is 0 or 1 with some probability, and differentiable between.

    s = sigmoid((log u − log(1 − u) + log α) / β),  u ~ U(0, 1)        z = clip(s·(ζ − γ) + γ, 0, 1)
    P(z ≤ x) = sigmoid(β·(log x̄ − log(1 − x̄)) − log α),  x̄ = (x − γ) / (ζ − γ)

β = 2/3, γ = −0.1, ζ = 1.1. (Louizos et al., 2018, arXiv:1712.01312; as Sheared LLaMA uses it, Xia et al., 2023,
arXiv:2310.06694.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["BETA", "HIGH", "LOW", "below", "drawn", "logistic", "median"]

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1
EPSILON = 1e-6  # keeps log u finite


def drawn(log_alpha: Tensor, generator: torch.Generator) -> Tensor:
    """One mask each; differentiable by log α."""
    return _stretched(torch.sigmoid((logistic(log_alpha.shape, generator).to(log_alpha) + log_alpha) / BETA))


def logistic(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """log u − log(1 − u): what makes a mask random."""
    u = torch.rand(tuple(shape), generator=generator).clamp(EPSILON, 1 - EPSILON)
    return u.log() - (1 - u).log()


def below(log_alpha: Tensor, x: float = 0.0) -> Tensor:
    """The probability that a mask is at most x, 0 ≤ x < 1; of being zero where x is not given."""
    share = (x - LOW) / (HIGH - LOW)
    return torch.sigmoid(BETA * (math.log(share) - math.log(1 - share)) - log_alpha)


def median(log_alpha: Tensor) -> Tensor:
    """The mask at u = ½."""
    return _stretched(torch.sigmoid(log_alpha / BETA))


def _stretched(s: Tensor) -> Tensor:
    return (s * (HIGH - LOW) + LOW).clamp(0.0, 1.0)
