"""Weights in blocks: int4, int3, int2 and ternary codes with a scale for every `block` inputs of each output, in bytes.

    ŵ = (q − 2^(bits−1)) · s         q in 0 … 2^bits − 1, one s for `block` weights along the input dimension

Symmetric: the zero point is the default one of ONNX Runtime's MatMulNBits, in whose layout codes are packed, (N,
⌈K/block⌉, block·bits/8), the first code in the lowest bits. Scales are found in `grids.py`. The runtime has no fields
of three bits: int3 codes −4 … 3 lie in fields of four, and take three bits on disk alone (`formats.pack`, dense).
Ternary codes −1, 0, 1 are stored as int2's, with the scale that is exactly the best (`ternary.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.formats import Format, cut, pack, unpack
from compressor.quant.grids import Grid, find_grid, ternary_grid

__all__ = [
    "BLOCK_FORMATS", "BLOCK_SIZES", "FINEST", "INT2", "INT3", "INT4", "TERNARY", "Blocks", "block_bytes", "blocks_of",
    "dequantize_blocks", "pack_blocks", "quantize_blocks", "round_by_block", "unpack_blocks",
]  # fmt: skip

INT4 = Format("int4", 4, -8, 7, torch.int8)
INT3 = Format("int3", 3, -4, 3, torch.int8)
INT2 = Format("int2", 2, -2, 1, torch.int8)
TERNARY = Format("ternary", 2, -1, 1, torch.int8)
BLOCK_FORMATS = {format.name: format for format in (INT4, INT3, INT2, TERNARY)}
FINEST = frozenset(  # of the formats whose codes take the same room, the one with the most levels
    max((f for f in BLOCK_FORMATS.values() if f.stored_bits == bits), key=lambda f: f.high - f.low).name
    for bits in {f.stored_bits for f in BLOCK_FORMATS.values()}
)
BLOCK_SIZES = (32, 64, 128)  # MatMulNBits takes 16 and 256 too; with 256, two bits leave its fast path
_FIELDS = {bits: Format(f"uint{bits}", bits, 0, 2**bits - 1, torch.uint8, symmetric=False) for bits in (4, 2)}


@dataclass(frozen=True)
class Blocks:
    """A matrix (N, K) of B = ⌈K/block⌉ blocks: codes `packed` (N, B, block·bits/8) uint8, `scales` (N, B) float32.

    `width` is K. `bits` are those of a stored field: 4 or 2.
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
    grid = ternary_grid(weight, format, block) if format is TERNARY else find_grid(weight, format, block)
    [blocks] = blocks_of(grid.codes(weight), grid)
    return blocks


def blocks_of(codes: Tensor, grid: Grid) -> tuple[Blocks, ...]:
    """Codes (N, K) on a grid as the runtime reads them: one matrix, or two whose products add up to theirs.

    Two scales, h above zero and b below, are no grid that it knows: ŵ = (h + b)/2 · q + (h − b)/2 · |q|.
    """
    width = codes.shape[1]
    if grid.below is None:
        return (Blocks(pack_blocks(codes, grid.format, grid.block), grid.scale, grid.format, grid.block, width),)
    parts = ((codes, (grid.scale + grid.below) / 2), (codes.abs(), (grid.scale - grid.below) / 2))
    packed = ((pack_blocks(part, grid.format, grid.block), scale) for part, scale in parts)
    return tuple(Blocks(codes, scale, grid.format, grid.block, width) for codes, scale in packed)


def dequantize_blocks(blocks: Blocks) -> Tensor:
    """The float32 matrix (N, K) that the codes stand for."""
    codes = unpack_blocks(blocks.packed, blocks.format, blocks.width)
    return codes.float() * blocks.scales.repeat_interleave(blocks.block, 1)[:, : blocks.width]


def pack_blocks(codes: Tensor, format: Format, block: int) -> Tensor:
    """Signed codes (N, K) → (N, ⌈K/block⌉, block·bits/8) uint8 for the runtime; what pads the last block is zero."""
    fields = cut(codes.to(torch.int16), block) + _zero(format)
    return pack(fields, _FIELDS[format.stored_bits])


def unpack_blocks(packed: Tensor, format: Format, width: int) -> Tensor:
    """The signed codes (N, `width`) int8 that `pack_blocks` was given."""
    block = packed.shape[-1] * 8 // format.stored_bits
    fields = unpack(packed, _FIELDS[format.stored_bits], block).flatten(-2)[..., :width]
    return (fields.to(torch.int16) - _zero(format)).to(torch.int8)


def _zero(format: Format) -> int:
    """The field that stands for code 0."""
    return 1 << (format.stored_bits - 1)


def block_bytes(rows: int, width: int, format: Format, block: int, *, dense: bool = False) -> int:
    """Bytes that a matrix (rows, width) takes: codes as the runtime reads them, or `dense`, and float32 scales."""
    bits = format.bits if dense else format.stored_bits
    return rows * math.ceil(width / block) * (block * bits // 8 + 4)


def round_by_block(x: Tensor, block: int) -> Tensor:
    """x (…, K) as int8 codes with a scale a block would say it: what integer kernels do to activations.

    q = round(x · (127 / max |x|)), ties to even; x̂ = q · (max |x| / 127)

    The factor is rounded to float32 first, as ONNX Runtime's kernels do: x / scale falls to the other side of a tie now
    and then, and where x lies on a lattice (pixels, codes) ties are common. Blocks of less than 1e-36 become zero.
    """
    width = x.shape[-1]
    blocks = cut(x, block)
    largest = blocks.abs().amax(-1, keepdim=True)
    factor = torch.full_like(largest, 127) / largest  # `127 / largest` would be 127 times its reciprocal
    codes = torch.round(blocks * torch.where(factor.isinf(), torch.zeros_like(factor), factor))
    return (codes * (largest / 127)).flatten(-2)[..., :width]
