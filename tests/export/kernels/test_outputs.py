"""From sums to floats: one rounding where a bias is added, scales in the order of blocks, and what ends a matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernel_runs import Given, here, multiplied, random_given, reference

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
