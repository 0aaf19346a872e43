"""Losses over values: features, embeddings, regressed numbers.

squared  mean (a − b)² / scale            scale: the mean square of the teacher's values
cosine   1 − ⟨a, b⟩ / (‖a‖ ‖b‖)            along the features, which are last

A mean over a sample's elements, so that neither length nor width weighs. (Romero et al., 2015, FitNets,
arXiv:1412.6550; Sanh et al., 2019, DistilBERT, arXiv:1910.01108.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

__all__ = ["by_sample", "cosine", "squared"]


def squared(ours: Tensor, theirs: Tensor, scale: float = 1.0) -> Tensor:
    """Squared error [...] of [..., features], over `scale`."""
    return (ours.float() - theirs.float()).square().mean(-1) / scale


def cosine(ours: Tensor, theirs: Tensor) -> Tensor:
    """Distance in angle [...] of [..., features]: 0 alike, 2 opposite."""
    return 1 - cosine_similarity(ours.float(), theirs.float(), dim=-1, eps=1e-8)


def by_sample(loss: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean [samples] of a loss [samples, ...] over its positions; only those that `mask` [samples, positions]
    holds true for, where it fits."""
    if loss.dim() == 0:
        return loss.unsqueeze(0)
    if mask is not None and loss.shape[:2] == mask.shape:
        kept = mask.to(loss.dtype).reshape(*mask.shape, *([1] * (loss.dim() - 2))).expand_as(loss)
        total = torch.where(kept > 0, loss * kept, 0.0).flatten(1).sum(1)
        return total / kept.flatten(1).sum(1).clamp_min(1.0)
    return loss.flatten(1).mean(1) if loss.dim() > 1 else loss
