"""Self-guided training's blend of a path that goes and the one that stays.

    o = a · dense + (1 − a) · thin,   a = (1 + cos(π · ramp)) / 2        while training; thin otherwise

The thin path learns while the dense one still carries the result, which goes as `ramp` rises from 0 to 1 (Wei et al.,
2024, Investigating Low-Rank Training in Transformer Language Models, arXiv:2407.09835). From ramp = 1 on the dense
path gets no gradient any more.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["dense_share", "fade"]


def dense_share(ramp: float) -> float:
    """a: 1 at 0, 0 from 1 on."""
    return (1 + math.cos(math.pi * min(max(ramp, 0.0), 1.0))) / 2


@torch.library.custom_op("compressor::fade", mutates_args=())
def fade(dense: Tensor, thin: Tensor, ramp: Tensor, training: bool) -> Tensor:
    """dense and thin float, of one shape; ramp: one number from 0 to 1 → like thin."""
    share = dense_share(float(ramp)) if training else 0.0
    return torch.lerp(thin, dense.to(thin.dtype), share) if share else thin.clone()


@fade.register_fake
def _(dense: Tensor, thin: Tensor, ramp: Tensor, training: bool) -> Tensor:
    return torch.empty_like(thin)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    dense, _, ramp, training = inputs
    ctx.share, ctx.dtype = dense_share(float(ramp)) if training else 0.0, dense.dtype


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    dense = (gradient * ctx.share).to(ctx.dtype) if ctx.share else None
    return dense, gradient * (1 - ctx.share), None, None


fade.register_autograd(_gradient, setup_context=_keep)
