"""Layers of floats as operators of their own: channels last, with what follows them inside.

    compressor::conv_last       y = act(conv(x, w) + b + r)         x (n, H, W, C), r and y (n, H′, W′, N)
    compressor::dense           y = act(x · wᵀ + b + r)             x (…, K), r and y (…, N)
                                w floats, or whole numbers of a byte and one scale an output
    compressor::max_pool_last, avg_pool_last                        x (n, H, W, C) → (n, H′, W′, C)
    compressor::attention       y = softmax(s · q kᵀ + m) v          of heads that lie beside each other

act keeps the result between `low` and `high`, where None is no bound, and rounds it to `codes` (step, zero, least,
most, whether they are unsigned), where there are some. Lowerings with kernels of their own make these of ATen's
operators (`float_layers.py`); no pass does. Their reference kernels are ATen's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["attention", "avg_pool_last", "conv_last", "dense", "ended", "kind_of", "max_pool_last"]


@torch.library.custom_op("compressor::conv_last", mutates_args=())
def conv_last(
    x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, residual: Tensor | None, low: float | None,
    high: float | None, codes: list[float] | None, stride: list[int], padding: list[int], dilation: list[int],
    groups: int,
) -> Tensor:  # fmt: skip
    """`weight` (N, C / groups, Ky, Kx), int8 with a `scale` (N); `padding` (left, right, above, below), as
    `torch.nn.functional.pad` has it."""
    padded = functional.pad(_first(x), padding)
    y = _last(functional.conv2d(padded, _scaled(weight, scale), bias, stride, 0, dilation, groups))
    return ended(y, residual, low, high, codes).contiguous()


@conv_last.register_fake
def _(
    x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, residual: Tensor | None, low: float | None,
    high: float | None, codes: list[float] | None, stride: list[int], padding: list[int], dilation: list[int],
    groups: int,
) -> Tensor:  # fmt: skip
    padded = functional.pad(_first(x), padding)
    y = _last(functional.conv2d(padded, _scaled(weight, scale), bias, stride, 0, dilation, groups))
    return y.contiguous().to(kind_of(codes))


@torch.library.custom_op("compressor::dense", mutates_args=())
def dense(
    x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, residual: Tensor | None, low: float | None,
    high: float | None, codes: list[float] | None,
) -> Tensor:  # fmt: skip
    """`weight` (N, K), int8 with a `scale` (N)."""
    return ended(functional.linear(x, _scaled(weight, scale), bias), residual, low, high, codes)


@dense.register_fake
def _(
    x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, residual: Tensor | None, low: float | None,
    high: float | None, codes: list[float] | None,
) -> Tensor:  # fmt: skip
    return x.new_empty((*x.shape[:-1], weight.shape[0]), dtype=kind_of(codes))


@torch.library.custom_op("compressor::max_pool_last", mutates_args=())
def max_pool_last(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil_mode: bool
) -> Tensor:
    """Windows beyond the borders are ATen's: padding never wins."""
    return _last(functional.max_pool2d(_first(x), kernel, stride, padding, dilation, ceil_mode)).contiguous()


@max_pool_last.register_fake
def _(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil_mode: bool
) -> Tensor:
    return _last(functional.max_pool2d(_first(x), kernel, stride, padding, dilation, ceil_mode)).contiguous()


@torch.library.custom_op("compressor::avg_pool_last", mutates_args=())
def avg_pool_last(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool, count_include_pad: bool
) -> Tensor:
    """Means as ATen counts them."""
    return _last(functional.avg_pool2d(_first(x), kernel, stride, padding, ceil_mode, count_include_pad)).contiguous()


@avg_pool_last.register_fake
def _(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool, count_include_pad: bool
) -> Tensor:
    return _last(functional.avg_pool2d(_first(x), kernel, stride, padding, ceil_mode, count_include_pad)).contiguous()


@torch.library.custom_op("compressor::attention", mutates_args=())
def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, first: list[bool]
) -> Tensor:
    """q (B, S, H, D), k (B, T, G, D), v (B, T, G, E), `mask` of four dimensions, added → (B, S, H, E).

    `first`: which of q, k and v have their heads before their length, (B, H, S, D). Head h reads keys h · G // H; with
    `causal`, query i sees keys up to i.
    """
    q, k, v = (each if ahead else each.transpose(1, 2) for each, ahead in zip((q, k, v), first, strict=True))
    grouped = q.shape[1] != k.shape[1]
    y = functional.scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale=scale, enable_gqa=grouped)
    return y.transpose(1, 2).contiguous()


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, first: list[bool]) -> Tensor:
    batch, length, heads = (q.transpose(1, 2) if first[0] else q).shape[:3]
    return q.new_empty((batch, length, heads, v.shape[3]))


def ended(
    y: Tensor, residual: Tensor | None, low: float | None, high: float | None, codes: list[float] | None
) -> Tensor:
    """What follows a product."""
    y = y if residual is None else y + residual
    y = y if low is None and high is None else torch.clamp(y, low, high)
    if codes is None:
        return y
    step, zero, least, most, _ = codes
    return torch.clamp(torch.round(y / step) + zero, least, most).to(kind_of(codes))


def kind_of(codes: list[float] | None) -> torch.dtype:
    """Of a result."""
    return torch.float32 if codes is None else torch.uint8 if codes[4] else torch.int8


def _scaled(weight: Tensor, scale: Tensor | None) -> Tensor:
    """Weights as floats."""
    return weight if scale is None else weight.to(scale.dtype) * scale.view(-1, *[1] * (weight.dim() - 1))


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)
