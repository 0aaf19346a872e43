"""The custom ops that carry quantization and shared slots in the graph; each has a fake and a reference kernel.

    compressor::quantize       q = clamp(round(x / scale) + zero_point, low, high)
    compressor::dequantize     x = (q − zero_point) · scale
    compressor::linear_blocks  y = x̂ · Ŵᵀ + b        Ŵ in blocks of 4 or 2 bits; x̂ is x, or x in int8 by block
    compressor::embedding_blocks  y = Ŵ[ids]
    compressor::patches       what a convolution's window meets, as rows        (quant/windows.py)
    compressor::expand_slots  w = sign · ψ[π]        (quant/slots.py)

`scale` and `zero_point` are scalars (per tensor) or vectors along `axis` (per channel). They lower to ONNX's
QuantizeLinear and DequantizeLinear (opset 21), whose rounding is half to even, as torch's is. Blocks lower to ONNX
Runtime's com.microsoft.MatMulNBits, which with accuracy level 4 rounds its input as `integer` says, and
GatherBlockQuantized.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from compressor.quant.blocks import BLOCK_FORMATS, Blocks, dequantize_blocks, round_by_block
from compressor.quant.slots import expand_slots
from compressor.quant.windows import patches

__all__ = ["dequantize", "embedding_blocks", "expand_slots", "linear_blocks", "patches", "quantize"]


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


@torch.library.custom_op("compressor::linear_blocks", mutates_args=())
def linear_blocks(
    x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, bits: int, block: int, width: int, integer: bool
) -> Tensor:
    """x (…, K) float, K `width`; packed (N, ⌈K/block⌉, block·bits/8) uint8, scales (N, ⌈K/block⌉), bias (N) → (…, N).

    `integer`: x is rounded to int8 first, with a scale for each row's `block` values, as integer kernels do.
    """
    weight = dequantize_blocks(Blocks(packed, scales, BLOCK_FORMATS[f"int{bits}"], block, width))
    return functional.linear(round_by_block(x, block) if integer else x, weight, bias)


@linear_blocks.register_fake
def _(
    x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, bits: int, block: int, width: int, integer: bool
) -> Tensor:
    torch._check(x.shape[-1] == width, lambda: f"the input has {x.shape[-1]} features, not {width}")  # type: ignore[no-untyped-call]
    return x.new_empty((*x.shape[:-1], packed.shape[0]))


@torch.library.custom_op("compressor::embedding_blocks", mutates_args=())
def embedding_blocks(packed: Tensor, ids: Tensor, scales: Tensor, bits: int, block: int, width: int) -> Tensor:
    """packed (V, ⌈width/block⌉, block·bits/8) uint8, scales (V, ⌈width/block⌉), ids of any shape → (ids…, width)."""
    rows = Blocks(packed[ids.flatten()], scales[ids.flatten()], BLOCK_FORMATS[f"int{bits}"], block, width)
    return dequantize_blocks(rows).view(*ids.shape, width)


@embedding_blocks.register_fake
def _(packed: Tensor, ids: Tensor, scales: Tensor, bits: int, block: int, width: int) -> Tensor:
    return scales.new_empty((*ids.shape, width))


def along(value: Tensor, like: Tensor, axis: int) -> Tensor:
    """A per-channel vector shaped to broadcast along `axis` of `like`; a scalar as it is."""
    if value.dim() == 0:
        return value
    shape = [1] * like.dim()
    shape[axis] = -1
    return value.view(shape)
