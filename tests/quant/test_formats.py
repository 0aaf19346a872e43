"""Formats: every code stands for itself, zero is exact, nothing is lost between packing and unpacking."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.errors import InputError
from compressor.quant import formats
from compressor.quant.formats import (
    BF16,
    FORMATS,
    FP16,
    FP32,
    INT7,
    INT8,
    INT8_AFFINE,
    PER_TENSOR,
    UINT8,
    Format,
    Granularity,
    bits_per_weight,
    choose_qparams,
    dequantize,
    format_named,
    pack,
    quantize,
    ranges,
    unpack,
)  # fmt: skip

INT4 = Format("int4", 4, -7, 7, torch.int8)
UINT4 = Format("uint4", 4, 0, 15, torch.uint8, symmetric=False)
INT2 = Format("int2", 2, -2, 1, torch.int8, symmetric=False)
TERNARY = Format("ternary", 2, -1, 1, torch.int8)
INTEGERS = [INT8, INT8_AFFINE, UINT8, INT7, INT4, UINT4, INT2, TERNARY]
GRANULARITIES = [PER_TENSOR, Granularity(0), Granularity(-1), Granularity(1, 3), Granularity(-1, 4)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_all_is_what_the_module_offers() -> None:
    assert set(formats.__all__) <= set(dir(formats))
    assert all(format_named(name) is value for name, value in FORMATS.items())


def test_an_unknown_format_names_its_neighbours() -> None:
    with pytest.raises(InputError, match="Did you mean int8"):
        format_named("int88")


def test_floating_formats_know_their_range() -> None:
    assert (FP32.bits, FP16.bits, BF16.bits) == (32, 16, 16)
    assert FP16.high == 65504.0
    assert not FP16.integer
    assert BF16.signed


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda f: f.name)
def test_values_come_back_within_half_a_step(fmt: Format, granularity: Granularity) -> None:
    tensor = noise(4, 7, 10)
    qparams = choose_qparams(tensor, fmt, granularity)
    codes = quantize(tensor, qparams)
    assert codes.dtype == fmt.dtype
    assert codes.shape == tensor.shape
    assert int(codes.min()) >= fmt.low
    assert int(codes.max()) <= fmt.high
    # An affine zero point is rounded, which costs at most another half step at one end of the range.
    steps = 0.5 if fmt.symmetric else 1.0
    assert float((dequantize(codes, qparams) - tensor).abs().max()) <= steps * float(qparams.scale.max()) * 1.001


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda f: f.name)
def test_every_code_survives_its_own_value(fmt: Format) -> None:
    codes = torch.arange(int(fmt.low), int(fmt.high) + 1).to(fmt.dtype)
    qparams = choose_qparams((-0.7 if fmt.signed else 0.0, 1.3), fmt)
    assert torch.equal(quantize(dequantize(codes, qparams), qparams), codes)


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda f: f.name)
@given(low=st.floats(-1e18, 1e18), high=st.floats(-1e18, 1e18))
@settings(max_examples=60, deadline=None)
def test_zero_is_exact_and_scales_are_usable(fmt: Format, low: float, high: float) -> None:
    low, high = sorted((low, high))
    qparams = choose_qparams((low, high), fmt)
    assert float(dequantize(quantize(torch.zeros(3), qparams), qparams).abs().max()) == 0.0
    assert 0.0 < float(qparams.scale) < float("inf")
    assert torch.isfinite(1 / qparams.scale)


def test_a_range_above_zero_is_widened_to_hold_it() -> None:
    qparams = choose_qparams((5.0, 10.0), UINT8)
    assert int(qparams.zero_point) == 0
    assert float(qparams.scale) == pytest.approx(10 / 255)


def test_after_relu_the_zero_point_is_the_lowest_code() -> None:
    assert int(choose_qparams((0.0, 3.0), UINT8).zero_point) == 0
    assert int(choose_qparams((0.0, 3.0), INT8_AFFINE).zero_point) == -128


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda f: f.name)
def test_nothing_but_zeros_gives_scale_one(fmt: Format) -> None:
    assert float(choose_qparams(torch.zeros(5), fmt).scale) == 1.0
    assert choose_qparams(torch.zeros(3, 5), fmt, Granularity(0)).scale.tolist() == [1.0] * 3


def test_denormal_values_get_a_scale_whose_inverse_is_finite() -> None:
    scale = choose_qparams(torch.full((4,), 1e-42), INT8).scale
    assert torch.isfinite(1 / scale)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        choose_qparams(torch.tensor([1.0, bad]), INT8)
    with pytest.raises(InputError, match="not a finite"):
        choose_qparams((0.0, bad), UINT8)
    with pytest.raises(InputError, match="not a finite"):
        choose_qparams((1.0, 0.0), UINT8)


def test_ranges_of_each_granularity() -> None:
    tensor = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]])
    assert [r.tolist() for r in ranges(tensor)] == [-2.0, 6.0]
    assert [r.tolist() for r in ranges(tensor, Granularity(0))] == [[-2.0, 0.0], [3.0, 6.0]]
    low, high = ranges(tensor, Granularity(1, 2))
    assert low.tolist() == [[-2.0, 0.0], [0.0, 0.0]]
    assert high.tolist() == [[1.0, 3.0], [5.0, 6.0]]
    assert [float(r) for r in ranges(torch.empty(0))] == [0.0, 0.0]


def test_finer_granularity_never_costs_accuracy() -> None:
    tensor = noise(8, 32) * torch.logspace(-2, 2, 8)[:, None]

    def error(granularity: Granularity) -> float:
        qparams = choose_qparams(tensor, INT4, granularity)
        return float((dequantize(quantize(tensor, qparams), qparams) - tensor).square().mean())

    assert error(Granularity(1, 8)) < error(Granularity(0)) < error(PER_TENSOR)


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda f: f.name)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
def test_packing_round_trips(fmt: Format, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    codes = torch.randint(int(fmt.low), int(fmt.high) + 1, (3, length), generator=generator).to(fmt.dtype)
    packed = pack(codes, fmt)
    assert packed.dtype == torch.uint8
    assert packed.shape[-1] == -(-length * fmt.stored_bits // 8)
    assert torch.equal(unpack(packed, fmt, length), codes)


def test_the_first_code_lies_in_the_lowest_bits() -> None:
    assert pack(torch.tensor([1, -1, 0, 1], dtype=torch.int8), TERNARY).tolist() == [0b01_00_11_01]


def test_bits_a_weight_count_scales_and_zero_points() -> None:
    assert bits_per_weight((64, 64), FP16) == 16
    assert bits_per_weight((64, 128), INT8, Granularity(0)) == 8 + 32 / 128
    assert bits_per_weight((64, 128), INT7, Granularity(0)) == 8 + 32 / 128
    assert bits_per_weight((64, 128), INT4, Granularity(1, 32)) == 4 + 1
    assert bits_per_weight((64, 128), UINT4, Granularity(1, 32)) == 4 + 36 / 32
    assert bits_per_weight((10,), INT8) == 8 + 3.2


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 70), st.booleans(), st.integers(0, 2**20))
@settings(max_examples=80, deadline=None)
def test_dense_packing_takes_exactly_the_bits(bits: int, rows: int, length: int, signed: bool, seed: int) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    fmt = Format("odd", bits, low, high, torch.int8 if signed else torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(low, high + 1, (rows, length), generator=generator).to(fmt.dtype)
    packed = pack(codes, fmt, dense=True)
    assert packed.shape == (rows, -(-length * bits // 8))
    assert torch.equal(unpack(packed, fmt, length, dense=True), codes)


def test_eight_codes_of_three_bits_in_three_bytes() -> None:
    int3 = Format("int3", 3, -4, 3, torch.int8)
    packed = pack(torch.tensor([1, 2, 3, 0, -1, -2, -3, -4], dtype=torch.int8), int3, dense=True)
    assert packed.tolist() == [0b11010001, 0b01110000, 0b10010111]
    assert (bits_per_weight((64, 128), int3), bits_per_weight((64, 128), int3, dense=True)) == (
        4 + 1 / 256,
        3 + 1 / 256,
    )
