"""Products of codes as operators of their own: what is between quantize and dequantize, in exact integers.

    compressor::linear_codes   y = act((Σ_k (q − z) · w + c) · (s_x · s_w) + b + r)
    compressor::conv_codes     the same over what a convolution's window meets, channels last; what pads is z
    compressor::table_codes    y = w[ids] · s_w[ids]         of weights that a product reads, too

q are codes of one scale and zero point, w of one scale an output, c a bias in their unit, b one in floats, r and act as
in `float_ops.py`. Lowerings make them of quantize–dequantize pairs (`codes.py`); no pass does. Their reference kernels
sum in float64, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from compressor.export.float_ops import ended, kind_of

__all__ = ["conv_codes", "linear_codes", "table_codes"]


@torch.library.custom_op("compressor::linear_codes", mutates_args=())
def linear_codes(
    q: Tensor, scale: Tensor, zero_point: Tensor, weight: Tensor, weight_scale: Tensor, counts: Tensor | None,
    bias: Tensor | None, residual: Tensor | None, low: float | None, high: float | None, codes: list[float] | None,
) -> Tensor:  # fmt: skip
    """q (…, K) int8 or uint8, `scale` and `zero_point` scalars, weight (N, K) int8, `weight_scale` (N), `counts` (N)
    int32, bias (N) → (…, N) float32."""
    sums = functional.linear(q.double() - zero_point.double(), weight.double())
    return _finished(sums, scale * weight_scale, counts, bias, residual, low, high, codes)


@linear_codes.register_fake
def _(
    q: Tensor, scale: Tensor, zero_point: Tensor, weight: Tensor, weight_scale: Tensor, counts: Tensor | None,
    bias: Tensor | None, residual: Tensor | None, low: float | None, high: float | None, codes: list[float] | None,
) -> Tensor:  # fmt: skip
    return scale.new_empty((*q.shape[:-1], weight.shape[0]), dtype=kind_of(codes))


@torch.library.custom_op("compressor::conv_codes", mutates_args=())
def conv_codes(
    q: Tensor, scale: Tensor, zero_point: Tensor, weight: Tensor, weight_scale: Tensor, counts: Tensor | None,
    bias: Tensor | None, residual: Tensor | None, low: float | None, high: float | None, codes: list[float] | None,
    stride: list[int], padding: list[int], dilation: list[int], groups: int,
) -> Tensor:  # fmt: skip
    """q (n, H, W, C) int8 or uint8, weight (N, C / groups, Ky, Kx) int8 → (n, H′, W′, N) float32.

    The rest is as in `linear_codes`; `padding` is (left, right, above, below), as `torch.nn.functional.pad` has it.
    """
    x = functional.pad(q.double() - zero_point.double(), [0, 0, *padding]).movedim(-1, 1)
    sums = functional.conv2d(x, weight.double(), None, stride, 0, dilation, groups).movedim(1, -1)
    return _finished(sums, scale * weight_scale, counts, bias, residual, low, high, codes).contiguous()


@conv_codes.register_fake
def _(
    q: Tensor, scale: Tensor, zero_point: Tensor, weight: Tensor, weight_scale: Tensor, counts: Tensor | None,
    bias: Tensor | None, residual: Tensor | None, low: float | None, high: float | None, codes: list[float] | None,
    stride: list[int], padding: list[int], dilation: list[int], groups: int,
) -> Tensor:  # fmt: skip
    padded = functional.pad(q.to(scale.dtype), [0, 0, *padding]).movedim(-1, 1)
    y = functional.conv2d(padded, weight.to(scale.dtype), None, stride, 0, dilation, groups)
    return y.movedim(1, -1).contiguous().to(kind_of(codes))


@torch.library.custom_op("compressor::table_codes", mutates_args=())
def table_codes(weight: Tensor, weight_scale: Tensor, ids: Tensor) -> Tensor:
    """weight (V, K) int8, `weight_scale` (V), ids of any shape → (ids…, K) float32."""
    return weight[ids].to(weight_scale.dtype) * weight_scale[ids].unsqueeze(-1)


@table_codes.register_fake
def _(weight: Tensor, weight_scale: Tensor, ids: Tensor) -> Tensor:
    return weight_scale.new_empty((*ids.shape, weight.shape[1]))


def _finished(
    sums: Tensor, scale: Tensor, counts: Tensor | None, bias: Tensor | None, residual: Tensor | None,
    low: float | None, high: float | None, codes: list[float] | None,
) -> Tensor:  # fmt: skip
    """(…, N) of exact sums."""
    y = (sums if counts is None else sums + counts).float() * scale
    y = y if bias is None else y + bias
    return ended(y, residual, low, high, codes)
