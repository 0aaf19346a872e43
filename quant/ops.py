"""The custom ops that carry quantization in the graph; each has a fake and a reference kernel.

    compressor::quantize    q = clamp(round(x / scale) + zero_point, low, high)
    compressor::dequantize  x = (q − zero_point) · scale

`scale` and `zero_point` are scalars (per tensor) or vectors along `axis` (per channel). They lower to ONNX's
QuantizeLinear and DequantizeLinear (opset 21), whose rounding is half to even, as torch's is.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dequantize", "quantize"]


@torch.library.custom_op("compressor::quantize", mutates_args=())
def quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, axis: int, dtype: torch.dtype
) -> Tensor:
    """x float, any shape → the same shape in `dtype` (int8 or uint8)."""
    scale, zero_point = along(scale, x, axis), along(zero_point, x, axis)
    return torch.clamp(torch.round(x / scale) + zero_point, low, high).to(dtype)


@quantize.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, axis: int, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(x, dtype=dtype)


@torch.library.custom_op("compressor::dequantize", mutates_args=())
def dequantize(q: Tensor, scale: Tensor, zero_point: Tensor, axis: int) -> Tensor:
    """q integer, any shape → the same shape in scale's dtype."""
    scale, zero_point = along(scale, q, axis), along(zero_point, q, axis)
    return (q.to(scale.dtype) - zero_point.to(scale.dtype)) * scale


@dequantize.register_fake
def _(q: Tensor, scale: Tensor, zero_point: Tensor, axis: int) -> Tensor:
    return torch.empty_like(q, dtype=scale.dtype)


def along(value: Tensor, like: Tensor, axis: int) -> Tensor:
    """A per-channel vector shaped to broadcast along `axis` of `like`; a scalar as it is."""
    if value.dim() == 0:
        return value
    shape = [1] * like.dim()
    shape[axis] = -1
    return value.view(shape)
