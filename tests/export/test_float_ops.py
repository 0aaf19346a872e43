"""Layers of floats as operators: ATen's, with channels last and what follows inside."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from compressor.export.float_ops import attention, avg_pool_last, conv_last, dense, max_pool_last

CODES = [0.25, 3.0, 0.0, 255.0, 1.0]


def test_a_convolution_is_finished() -> None:
    x, w, b = torch.randn(2, 7, 6, 4), torch.randn(8, 2, 3, 3), torch.randn(8)
    r = torch.randn(2, 4, 8, 8)
    y = conv_last(x, w, None, b, r, 0.0, 2.0, None, [2, 1], [2, 2, 1, 1], [1, 1], 2)
    first = functional.conv2d(x.permute(0, 3, 1, 2), w, b, (2, 1), (1, 2), 1, 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(y, (first + r).clamp(0, 2))


def test_a_product_is_rounded_to_codes() -> None:
    x, w = torch.randn(3, 5, 6), torch.randn(4, 6)
    found = dense(x, w, None, None, None, None, None, CODES)
    assert found.dtype == torch.uint8
    assert torch.equal(found, (torch.round(functional.linear(x, w) / 0.25) + 3).clamp(0, 255).to(torch.uint8))


def test_pools_and_attention() -> None:
    x = torch.randn(2, 7, 6, 4)
    first = x.permute(0, 3, 1, 2)
    wanted = functional.max_pool2d(first, 3, 2, 1, 1, True).permute(0, 2, 3, 1)
    torch.testing.assert_close(max_pool_last(x, [3, 3], [2, 2], [1, 1], [1, 1], True), wanted)
    wanted = functional.avg_pool2d(first, 3, 2, 1, False, False).permute(0, 2, 3, 1)
    torch.testing.assert_close(avg_pool_last(x, [3, 3], [2, 2], [1, 1], False, False), wanted)
    q, k = torch.randn(2, 5, 4, 8), torch.randn(2, 9, 2, 8)
    turned = [each.transpose(1, 2) for each in (q, k, k)]
    wanted = functional.scaled_dot_product_attention(*turned, scale=0.3, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(attention(q, k.transpose(1, 2), k, None, False, 0.3, [False, True, False]), wanted)


@pytest.mark.parametrize("codes", [None, CODES])
def test_shapes_are_known_without_values(codes: list[float] | None) -> None:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        x = torch.empty(2, 7, 6, 4)
        y = conv_last(x, torch.empty(8, 4, 3, 3), *[None] * 5, codes, [1, 1], [0] * 4, [1, 1], 1)
        assert (tuple(y.shape), y.dtype) == ((2, 5, 4, 8), torch.float32 if codes is None else torch.uint8)
        assert tuple(dense(x, torch.empty(3, 4), *[None] * 5, codes).shape) == (2, 7, 6, 3)
        assert tuple(max_pool_last(x, [2, 2], [2, 2], [0, 0], [1, 1], False).shape) == (2, 3, 3, 4)
        assert tuple(avg_pool_last(x, [2, 2], [2, 2], [0, 0], False, True).shape) == (2, 3, 3, 4)
        assert tuple(attention(x, x, x, None, False, 1.0, [False] * 3).shape) == (2, 7, 6, 4)
