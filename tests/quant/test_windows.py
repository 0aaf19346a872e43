"""Rows of what a convolution meets, beside PyTorch's convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import compressor.quant.ops  # noqa: F401  registers the custom ops

patches = torch.ops.compressor.patches.default
CASES = {
    "a line": ((2, 9, 4), [3], [2], [1, 1], [1]),
    "3 × 3": ((2, 7, 9, 5), [3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
    "all different": ((1, 11, 8, 3), [2, 3], [3, 2], [0, 1, 2, 0], [2, 1]),
    "a volume": ((1, 5, 6, 4, 2), [3, 1, 2], [1, 2, 1], [1, 0, 0, 0, 1, 1], [1, 1, 2]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_product_of_rows_is_the_convolution(name: str) -> None:
    shape, kernel, stride, padding, dilation = CASES[name]
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(6, shape[-1], *kernel)
    rows = patches(x, kernel, stride, padding, dilation)
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(kernel) - 1]
    padded = functional.pad(x.movedim(-1, 1), padding)
    wanted = convolve(padded, weight, None, stride, 0, dilation).movedim(1, -1)
    torch.testing.assert_close(rows @ weight.movedim(1, -1).flatten(1).T, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_operator_is_sound(name: str) -> None:
    shape, *sizes = CASES[name]
    torch.library.opcheck(patches, (torch.randn(shape), *sizes))
