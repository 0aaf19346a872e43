"""Self-relations of attention: which positions resemble which, whatever the widths.

R(X) = softmax(X Xᵀ / √d), X ∈ {Q, K, V} in heads of width d, the same number of heads for both networks
squared  mean over heads and positions of Σ_j (R_s − R_t)²         kl  Σ_j R_t log(R_t / R_s)

The widths of all heads together are split anew, so that networks with other heads, or fewer, compare.
(Wang et al., 2021, MiniLMv2, arXiv:2012.15828; Xu et al., 2022, AutoDistil, arXiv:2201.12507.)
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

__all__ = ["common_heads", "relation"]


def common_heads(ours: tuple[int, int], theirs: tuple[int, int]) -> int:
    """The number of heads to compare in, of (heads, width of one) each: the largest that divides both total widths,
    no more than the larger number of heads."""
    common = math.gcd(ours[0] * ours[1], theirs[0] * theirs[1])
    most = max(ours[0], theirs[0])
    return max(heads for heads in range(1, most + 1) if common % heads == 0)


def relation(
    ours: Tensor, theirs: Tensor, mask: Tensor | None = None, form: Literal["squared", "kl"] = "squared"
) -> Tensor:
    """The distance [samples, positions] of two networks' queries, keys or values [samples, heads, positions, width].

    `mask` [samples, positions] leaves positions out as keys; leaving them out as queries is the caller's.
    """
    heads = common_heads((ours.shape[1], ours.shape[3]), (theirs.shape[1], theirs.shape[3]))
    mine, yours = (_log_relation(part, heads, mask) for part in (ours, theirs))
    if form == "squared":
        return (mine.exp() - yours.exp()).square().sum(-1).mean(1)
    parts = torch.where(yours.isneginf(), 0.0, yours.exp() * (yours - mine))
    return torch.where(yours.isneginf(), 0.0, parts).sum(-1).mean(1)


def _log_relation(part: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    samples, _, positions, _ = part.shape
    joined = part.float().transpose(1, 2).reshape(samples, positions, heads, -1).transpose(1, 2)
    scores = joined @ joined.transpose(-1, -2) / math.sqrt(joined.shape[-1])
    if mask is not None and mask.shape == (samples, positions):
        scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    return log_softmax(scores, -1)
