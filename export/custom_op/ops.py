"""Products and tables on weights that lie as kernels read them: what custom operators of ONNX Runtime compute.

    compressor::linear_packed     y = x̂ · Ŵᵀ + b        x̂ is x in int8 by block, Ŵ codes of a kernels' `Layout`
    compressor::embedding_packed  y = Ŵ[ids]

They stand for `linear_blocks` and `embedding_blocks` of the same weights, and give what these give.
"""

from __future__ import annotations

from dataclasses import astuple

import torch
from torch import Tensor
from torch.nn import functional

from compressor.export.kernels.packing import Layout, Packed, unpack_weights
from compressor.quant.blocks import round_by_block

__all__ = ["embedding_packed", "layout_of", "linear_packed", "numbers_of"]

_BLOCK = 6  # its place among a layout's numbers
_NUMBERS = 8  # the last says of bytes what these operators' weights are not


def numbers_of(layout: Layout) -> list[int]:
    """A layout as an operator's argument: outputs, inputs, bits, zero, lanes, vectors, block, group.

    Raises ValueError for one without blocks, which these operators do not take.
    """
    if layout.block is None:
        raise ValueError("a layout without blocks")
    return [int(number) for number in astuple(layout)][:_NUMBERS]


def layout_of(numbers: list[int]) -> Layout:
    """The layout that `numbers_of` was given."""
    return Layout(*numbers)


@torch.library.custom_op("compressor::linear_packed", mutates_args=())
def linear_packed(x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None, layout: list[int]) -> Tensor:
    """x (…, K) float; codes flat uint8, scales flat float32, bias float32 as long as registers are → (…, N)."""
    outputs, block = layout[0], layout[_BLOCK]
    y = functional.linear(round_by_block(x, block), _weight(codes, scales, layout))
    return y if bias is None else y + bias[:outputs]


@linear_packed.register_fake
def _(x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None, layout: list[int]) -> Tensor:
    torch._check(x.shape[-1] == layout[1], lambda: f"the input has {x.shape[-1]} features, not {layout[1]}")  # type: ignore[no-untyped-call]
    return x.new_empty((*x.shape[:-1], layout[0]))


@torch.library.custom_op("compressor::embedding_packed", mutates_args=())
def embedding_packed(codes: Tensor, scales: Tensor, ids: Tensor, layout: list[int]) -> Tensor:
    """codes flat uint8, scales flat float32, ids of any shape → (ids…, K)."""
    return _weight(codes, scales, layout)[ids]


@embedding_packed.register_fake
def _(codes: Tensor, scales: Tensor, ids: Tensor, layout: list[int]) -> Tensor:
    return scales.new_empty((*ids.shape, layout[1]))


def _weight(codes: Tensor, scales: Tensor, layout: list[int]) -> Tensor:
    """The matrix (N, K) that packed codes stand for."""
    signed, by_block = unpack_weights(Packed(codes, scales, layout_of(layout)))
    return signed.float() * by_block.repeat_interleave(layout[_BLOCK], 1)[:, : layout[1]]
