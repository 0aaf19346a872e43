"""Weights in blocks: int4, int2 and ternary codes with a scale for every `block` inputs of each output, in bytes.

    ŵ = (q − 2^(bits−1)) · s         q in 0 … 2^bits − 1, one s for `block` weights along the input dimension
    s = argmin Σ (w − ŵ)²            over a grid, each candidate's codes with the scale that fits them best: Σwc / Σc²

Symmetric: the zero point is the default one of ONNX Runtime's MatMulNBits, in whose layout codes are packed, (N,
⌈K/block⌉, block·bits/8), the first code in the lowest bits. The grid starts where the block's largest weight, of
either sign, has the lowest code (llama.cpp's Q4_0), so a scale may be negative. Ternary codes −1, 0, 1 are stored as
int2's, with the scale that is exactly the best (`ternary.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.formats import SMALLEST_SCALE, Format, Granularity, cut, pack, ranges, unpack
from compressor.quant.ternary import quantize_ternary

__all__ = [
    "BLOCK_FORMATS", "BLOCK_SIZES", "INT2", "INT4", "TERNARY", "Blocks", "block_bytes", "dequantize_blocks",
    "pack_blocks", "quantize_blocks", "round_by_block", "unpack_blocks",
]  # fmt: skip

INT4 = Format("int4", 4, -8, 7, torch.int8)
INT2 = Format("int2", 2, -2, 1, torch.int8)
TERNARY = Format("ternary", 2, -1, 1, torch.int8)
BLOCK_FORMATS = {format.name: format for format in (INT4, INT2, TERNARY)}
BLOCK_SIZES = (32, 64, 128)  # MatMulNBits takes 16 and 256 too; with 256, two bits leave its fast path
_FIELDS = {bits: Format(f"uint{bits}", bits, 0, 2**bits - 1, torch.uint8, symmetric=False) for bits in (4, 2)}
_GRID = torch.arange(0.2, 1.2, 0.04).tolist()  # of the scale at which the largest weight has the lowest code
_AT_ONCE = 2**21  # weights that the search works on together: it holds some ten times as much


@dataclass(frozen=True)
class Blocks:
    """A matrix (N, K) of B = ⌈K/block⌉ blocks: codes `packed` (N, B, block·bits/8) uint8, `scales` (N, B) float32.

    `width` is K.
    """

    packed: Tensor
    scales: Tensor
    format: Format
    block: int
    width: int


def quantize_blocks(weight: Tensor, format: Format, block: int) -> Blocks:
    """Round a matrix (N, K) to the nearest codes of scales searched for the least squared error.

    K is padded to whole blocks with zeros. Raises InputError for NaN or infinity, for what is no matrix, and for a
    block that is not one of BLOCK_SIZES.
    """
    if block not in BLOCK_SIZES:
        raise InputError(f"blocks of {block} are not one of {', '.join(map(str, BLOCK_SIZES))}")
    if weight.dim() != 2 or 0 in weight.shape:
        raise InputError(f"a weight of shape {tuple(weight.shape)} is no matrix to cut into blocks")
    ranges(weight)  # refuses what is not finite
    if format is TERNARY:
        best = quantize_ternary(weight, "fitted", Granularity(1, block))
        scales = torch.where(best.high == 0, torch.ones_like(best.high), best.high)
        return Blocks(pack_blocks(best.codes, format, block), scales, format, block, weight.shape[1])
    blocks = cut(weight.detach().float(), block)
    found = [_search(rows, format) for rows in torch.split(blocks, max(1, _AT_ONCE // blocks[0].numel()))]
    scales = torch.cat([scale for scale, _ in found])
    codes = torch.cat([code for _, code in found]).flatten(1)[:, : weight.shape[1]]
    return Blocks(pack_blocks(codes, format, block), scales, format, block, weight.shape[1])


def dequantize_blocks(blocks: Blocks) -> Tensor:
    """The float32 matrix (N, K) that the codes stand for."""
    codes = unpack_blocks(blocks.packed, blocks.format, blocks.width)
    return codes.float() * blocks.scales.repeat_interleave(blocks.block, 1)[:, : blocks.width]


def pack_blocks(codes: Tensor, format: Format, block: int) -> Tensor:
    """Signed codes (N, K) → (N, ⌈K/block⌉, block·bits/8) uint8; what pads the last block stands for zero."""
    fields = cut(codes.to(torch.int16), block) + _zero(format)
    return pack(fields, _FIELDS[format.bits])


def unpack_blocks(packed: Tensor, format: Format, width: int) -> Tensor:
    """The signed codes (N, `width`) int8 that `pack_blocks` was given."""
    block = packed.shape[-1] * 8 // format.bits
    fields = unpack(packed, _FIELDS[format.bits], block).flatten(-2)[..., :width]
    return (fields.to(torch.int16) - _zero(format)).to(torch.int8)


def _zero(format: Format) -> int:
    """The field that stands for code 0."""
    return 1 << (format.bits - 1)


def block_bytes(rows: int, width: int, format: Format, block: int) -> int:
    """Bytes that a matrix (rows, width) takes: packed codes and float32 scales."""
    return rows * math.ceil(width / block) * (block * format.bits // 8 + 4)


def round_by_block(x: Tensor, block: int) -> Tensor:
    """x (…, K) as int8 codes with a scale a block would say it: what integer kernels do to activations."""
    width = x.shape[-1]
    blocks = cut(x, block)
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    codes = torch.round(blocks / torch.where(scale > 0, scale, torch.ones_like(scale)))
    return (codes * scale).flatten(-2)[..., :width]


def _search(blocks: Tensor, format: Format) -> tuple[Tensor, Tensor]:
    """The scale of each block (…, 1 dropped) and its signed codes; a block of zeros has scale 1."""
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    first = _usable(largest / format.low)
    scale, best = first, torch.full_like(first, -math.inf)
    for share in _GRID:
        codes = _codes(blocks, _usable(first * share), format)
        product, square = (blocks * codes).sum(-1, keepdim=True), codes.square().sum(-1, keepdim=True)
        fitted = product / square.clamp(min=1.0)
        gain = product * fitted  # by how much these codes lower Σw², the error of all zeros
        better = gain > best
        scale, best = torch.where(better, _usable(fitted), scale), torch.where(better, gain, best)
    return scale.squeeze(-1), _codes(blocks, scale, format)


def _codes(blocks: Tensor, scale: Tensor, format: Format) -> Tensor:
    return torch.clamp(torch.round(blocks / scale), format.low, format.high)


def _usable(scale: Tensor) -> Tensor:
    """Away from zero, where a division would overflow; 1 for a block of zeros."""
    floored = torch.where(scale < 0, scale.clamp(max=-SMALLEST_SCALE), scale.clamp(min=SMALLEST_SCALE))
    return torch.where(scale == 0, torch.ones_like(scale), floored)
