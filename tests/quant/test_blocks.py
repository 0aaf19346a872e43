"""Blocks: codes come back as they were packed, zero stays zero, and errors stay within what the bits allow."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.blocks import (
    BLOCK_FORMATS,
    BLOCK_SIZES,
    INT2,
    INT3,
    INT4,
    TERNARY,
    block_bytes,
    dequantize_blocks,
    pack_blocks,
    quantize_blocks,
    round_by_block,
    unpack_blocks,
)
from compressor.quant.formats import Format, pack, unpack

shapes = st.tuples(st.integers(1, 9), st.integers(1, 300))
formats = st.sampled_from(sorted(BLOCK_FORMATS.values(), key=lambda f: f.name))
sizes = st.sampled_from(BLOCK_SIZES)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(exact: Tensor, other: Tensor) -> float:
    return float((exact - other).norm() / exact.norm())


@given(shapes, formats, sizes, st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_codes_come_back_as_they_were_packed(shape: tuple[int, int], fmt: Format, block: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(int(fmt.low), int(fmt.high) + 1, shape, dtype=torch.int8, generator=random)
    packed = pack_blocks(codes, fmt, block)
    assert packed.dtype == torch.uint8
    assert packed.shape == (shape[0], math.ceil(shape[1] / block), block * fmt.stored_bits // 8)
    assert torch.equal(unpack_blocks(packed, fmt, shape[1]), codes)


@given(shapes, formats, sizes, st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_values_on_the_grid_are_exact(shape: tuple[int, int], fmt: Format, block: int, seed: int) -> None:
    """A power of two times codes that hold the lowest one: the scale is found and nothing is lost."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(int(fmt.low), int(fmt.high) + 1, shape, generator=random).float()
    codes[:, ::block] = fmt.low
    scales = 2.0 ** torch.randint(-20, 20, (shape[0], 1), generator=random)
    blocks = quantize_blocks(codes * scales, fmt, block)
    assert torch.equal(dequantize_blocks(blocks), codes * scales)


@given(shapes, formats, sizes, st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_no_block_is_further_off_than_zeros_would_be(
    shape: tuple[int, int], fmt: Format, block: int, seed: int
) -> None:
    weight = normal(*shape, seed=seed) * normal(shape[0], 1, seed=seed + 1).exp()
    error = weight - dequantize_blocks(quantize_blocks(weight, fmt, block))
    for own, whole in zip(error.split(block, 1), weight.split(block, 1), strict=True):
        assert bool((own.square().sum(1) <= whole.square().sum(1) * (1 + 1e-5)).all())


@pytest.mark.parametrize(("fmt", "low", "high"), [(INT4, 0.07, 0.12), (INT2, 0.30, 0.42)], ids=["int4", "int2"])
@pytest.mark.parametrize("block", BLOCK_SIZES)
def test_the_error_on_normal_weights(fmt: Format, low: float, high: float, block: int) -> None:
    """Max's best quantizer of N(0, 1) with equal steps loses 10.7% at 16 levels and 34.5% at 4 (1960, table II)."""
    weight = normal(64, 512)
    assert low < relative(weight, dequantize_blocks(quantize_blocks(weight, fmt, block))) < high


@pytest.mark.parametrize("fmt", [INT4, INT2], ids=["int4", "int2"])
def test_the_search_beats_the_scale_of_the_largest_weight(fmt: Format) -> None:
    weight = normal(32, 256)
    groups = weight.view(32, -1, 128)
    scale = groups.abs().amax(-1, keepdim=True) / -fmt.low
    plain = (torch.clamp(torch.round(groups / scale), fmt.low, fmt.high) * scale).view(32, -1)
    searched = dequantize_blocks(quantize_blocks(weight, fmt, 128))
    assert relative(weight, searched) < 0.95 * relative(weight, plain)


def test_the_layout_is_the_runtimes_lowest_bits_first() -> None:
    codes = torch.zeros(1, 40, dtype=torch.int8)
    codes[0, :3] = torch.tensor([-8, 7, 1])
    packed = pack_blocks(codes, INT4, 32)
    assert packed.shape == (1, 2, 16)
    assert packed[0, 0, :3].tolist() == [0xF0, 0x89, 0x88], "−8 is code 0, 7 is 15, zero is 8"
    pairs = torch.zeros(1, 32, dtype=torch.int8)
    pairs[0, :4] = torch.tensor([-2, -1, 0, 1])
    assert pack_blocks(pairs, INT2, 32)[0, 0, :2].tolist() == [0b11100100, 0b10101010]


def test_what_pads_the_last_block_stands_for_zero() -> None:
    blocks = quantize_blocks(normal(3, 33), INT4, 32)
    whole = unpack_blocks(blocks.packed, INT4, 64)
    assert not whole[:, 33:].any()


def test_a_block_of_zeros_and_a_tiny_one() -> None:
    weight = torch.zeros(2, 64)
    weight[1, 3] = 1e-40
    blocks = quantize_blocks(weight, INT2, 32)
    assert blocks.scales[0].tolist() == [1.0, 1.0]
    assert bool(blocks.scales.isfinite().all())
    assert float(dequantize_blocks(blocks).abs().max()) < 1e-29


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    weight = normal(2, 32)
    weight[1, 5] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        quantize_blocks(weight, INT4, 32)


def test_other_blocks_and_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="blocks of 256 are not one of 32, 64, 128"):
        quantize_blocks(normal(2, 256), INT4, 256)
    for weight in (normal(4), normal(2, 3, 32), torch.zeros(0, 32)):
        with pytest.raises(InputError, match="no matrix"):
            quantize_blocks(weight, INT4, 32)


@pytest.mark.parametrize("fmt", [INT4, INT2], ids=["int4", "int2"])
def test_bytes_are_those_of_the_tensors(fmt: Format) -> None:
    blocks = quantize_blocks(normal(5, 200), fmt, 64)
    stored = blocks.packed.numel() + 4 * blocks.scales.numel()
    assert block_bytes(5, 200, fmt, 64) == stored == 5 * 4 * (8 * fmt.bits + 4)


def test_three_bits_take_four_in_memory_and_three_on_disk() -> None:
    blocks = quantize_blocks(normal(5, 200), INT3, 64)
    assert block_bytes(5, 200, INT3, 64) == blocks.packed.numel() + 4 * blocks.scales.numel() == 5 * 4 * (32 + 4)
    codes = unpack_blocks(blocks.packed, INT3, 256)
    disk = pack(codes, INT3, dense=True)
    assert block_bytes(5, 200, INT3, 64, dense=True) == disk.numel() + 4 * blocks.scales.numel()
    assert torch.equal(unpack(disk, INT3, 256, dense=True), codes)


def test_rows_are_rounded_by_block() -> None:
    x = torch.cat([torch.linspace(-127, 127, 32), torch.linspace(-1, 1, 32), torch.zeros(6)])[None]
    rounded = round_by_block(x, 32)
    assert rounded.shape == x.shape
    assert torch.equal(rounded[:, :32], torch.round(x[:, :32])), "its largest value is 127: whole numbers stay"
    assert float((rounded - x)[:, 32:64].abs().max()) <= 0.5 / 127 + 1e-6
    assert not rounded[:, 64:].any()


def test_the_factor_of_a_row_is_rounded_before_it_is_used() -> None:
    """(q + 1/2) · max / 127 is a tie in exact arithmetic; in floats the order of operations says where it falls."""
    largest = torch.arange(1, 2000, dtype=torch.float32)
    ties = largest[:, None] * (torch.arange(32) + 0.5) / 127  # q + 1/2 times the scale, as near as floats come
    rows = torch.cat([largest[:, None], ties[:, 1:]], 1)
    codes = torch.round(round_by_block(rows, 32) / (largest / 127)[:, None])
    assert torch.equal(codes, torch.round(rows * (torch.tensor(127.0) / largest)[:, None]))
    assert not torch.equal(codes, torch.round(rows / (largest / 127)[:, None])), "which is another rule"


def test_ternary_codes_are_those_of_two_bits_without_the_lowest() -> None:
    weight = normal(8, 256)
    found = quantize_blocks(weight, TERNARY, 64)
    codes = unpack_blocks(found.packed, INT2, 256)
    assert set(codes.unique().tolist()) == {-1, 0, 1}
    assert torch.equal(codes, unpack_blocks(found.packed, TERNARY, 256))
    assert relative(weight, dequantize_blocks(found)) < 0.48


def test_ternary_is_no_worse_than_any_scale() -> None:
    weight = normal(4, 128)
    best = relative(weight, dequantize_blocks(quantize_blocks(weight, TERNARY, 32)))
    for share in torch.linspace(0.1, 2.0, 20):
        scale = share * weight.view(4, 4, 32).abs().mean(-1, keepdim=True)
        other = torch.clamp(torch.round(weight.view(4, 4, 32) / scale), -1, 1) * scale
        assert best <= relative(weight, other.view(4, 128)) + 1e-6
