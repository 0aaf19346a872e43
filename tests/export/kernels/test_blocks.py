"""Weights in blocks as kernels read them: the same codes and scales, ternary ones by codes of their own."""

from __future__ import annotations

import pytest
import torch
from kernel_runs import here

from compressor.export.kernels.blocks import packed_blocks
from compressor.export.kernels.packing import unpack_weights
from compressor.quant.blocks import BLOCK_FORMATS, quantize_blocks, unpack_blocks


@pytest.mark.parametrize(("format", "zero"), [("ternary", 1), ("int2", 2), ("int3", 8), ("int4", 8)])
def test_codes_and_scales_are_those_that_were_stored(format: str, zero: int) -> None:
    kind = BLOCK_FORMATS[format]
    blocks = quantize_blocks(torch.randn(19, 100), kind, 32)
    packed = packed_blocks(here()[0], blocks.packed, blocks.scales, kind.stored_bits, 32, 100)
    codes, scales = unpack_weights(packed)
    assert torch.equal(codes, unpack_blocks(blocks.packed, kind, 100))
    assert torch.equal(scales, blocks.scales)
    assert packed.layout.zero == zero
