"""Weights in blocks, as `quant/blocks.py` stores them, laid out for the kernels of an instruction set.

Ternary weights, which are stored as codes of int2, get smaller codes of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from compressor.export.kernels.packing import Packed, pack_weights
from compressor.quant.blocks import BLOCK_FORMATS, unpack_blocks

if TYPE_CHECKING:
    from compressor.export.kernels.isa import Isa

__all__ = ["packed_blocks"]


def packed_blocks(isa: Isa, codes: Tensor, scales: Tensor, bits: int, block: int, width: int) -> Packed:
    """Codes (N, ⌈width/block⌉, block·bits/8) uint8 and scales (N, ⌈width/block⌉) as kernels read them."""
    found = unpack_blocks(codes, BLOCK_FORMATS[f"int{bits}"], width)
    ternary = bits == 2 and int(found.min()) >= -1
    return pack_weights(found, scales, isa.layout(len(found), width, bits, block, lowest=-1 if ternary else None))
