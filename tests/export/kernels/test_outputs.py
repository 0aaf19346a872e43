"""From sums to floats: one rounding where a bias is added, scales in the order of blocks, and what ends a matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernel_runs import Given, here, multiplied, random_given, reference, rounded

from compressor.errors import InputError
from compressor.export.kernels.outputs import Product
from compressor.quant.blocks import INT2, quantize_blocks, unpack_blocks
from compressor.quant.ops import linear_blocks

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)


@each
def test_a_bias_is_added_before_the_product_is_rounded(isa) -> None:  # type: ignore[no-untyped-def]
    w, scale = torch.tensor([[1]], dtype=torch.int8), torch.tensor([[1 + 2.0**-12]])
    bias = torch.tensor([-(1 + 2.0**-11)])
    q, q_scale = torch.tensor([[1]], dtype=torch.int8), torch.tensor([1 + 2.0**-12])
    given = Given(w, torch.ones(1, 1), bias, q, q_scale * scale[0], 2)
    assert multiplied(isa, given)[0, 0] == np.float32(np.float64(given.q_scales[0]) + np.float64(bias[0]))
    split = replace(given, scales=scale, q_scales=q_scale, bias=None)
    assert multiplied(isa, split)[0, 0] == np.float32(scale[0, 0]) * np.float32(q_scale[0]), "scales are one number"


@each
def test_relu_is_inside(isa) -> None:  # type: ignore[no-untyped-def]
    given = random_given(2, (isa.lanes, 64), 2, relu=True)
    result = multiplied(isa, given)
    assert (result >= 0).all()
    assert (result == 0).any()
    assert np.array_equal(result, np.maximum(reference(replace(given, relu=False)), 0))


@each
def test_blocks_are_added_from_the_first_to_the_last(isa) -> None:  # type: ignore[no-untyped-def]
    w = torch.ones((1, 96), dtype=torch.int8)
    scales = torch.tensor([[2.0**24, 1.0, -(2.0**24)]]) / 32
    given = Given(w, scales, None, torch.ones((1, 96), dtype=torch.int8), torch.ones(1), 2, 32)
    assert multiplied(isa, given)[0, 0] == 0, "1 is lost beside 2^24"
    assert multiplied(isa, replace(given, scales=scales[:, [0, 2, 1]].contiguous()))[0, 0] == 1


@each
@pytest.mark.parametrize("outputs", [1, 5])
def test_nothing_is_written_beyond_the_last_output(isa, outputs: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(4, (outputs, 40), 8)
    assert np.array_equal(multiplied(isa, given), reference(given))


@each
@pytest.mark.parametrize(("rows", "bias"), [(1, True), (9, False)])
def test_activations_with_scales_by_block(isa, rows: int, bias: bool) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (isa.lanes + 2, 200), 2, 64, bias=bias)
    given = replace(given, by_block=True, q_scales=torch.rand(rows, 4))
    assert np.array_equal(multiplied(isa, given), reference(given))


@each
def test_blocks_of_both_are_what_the_op_gives(isa) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    weight, x = torch.randn(20, 200), torch.randn(5, 200)
    blocks = quantize_blocks(weight, INT2, 64)
    codes, scales, _ = rounded(isa, x, 64, by_block=True)
    w = unpack_blocks(blocks.packed, INT2, 200)
    q = torch.from_numpy(codes[:, :200].copy())
    given = Given(w, blocks.scales, None, q, torch.from_numpy(scales), 2, 64, by_block=True)
    expected = linear_blocks(x, blocks.packed, blocks.scales, None, 2, 64, 200, True)
    assert torch.allclose(torch.from_numpy(multiplied(isa, given)), expected, rtol=1e-5, atol=1e-5)


@each
@pytest.mark.parametrize(("rows", "bits"), [(1, 2), (3, 8), (9, 8)])
def test_whole_numbers_are_added_before_anything_is_rounded(isa, rows: int, bits: int) -> None:  # type: ignore[no-untyped-def]
    given = random_given(rows, (isa.lanes * 2 + 3, 100), bits)
    offsets = torch.randint(-(2**30), 2**30, (isa.lanes * 2 + 3,), dtype=torch.int32)
    given = replace(given, offsets=offsets, q_scales=torch.ones(rows), scales=torch.ones_like(given.scales))
    assert np.array_equal(multiplied(isa, given), reference(given))


def test_whole_numbers_are_refused_beside_blocks() -> None:
    isa = here()[0]
    with pytest.raises(InputError, match="not to those of blocks"):
        Product(isa, isa.layout(4, 64, 2, 64), offsets=True)
