"""The custom ops: what they compute, that they trace, and that they agree with the formats."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import compressor.quant.ops  # noqa: F401  registers the ops
from compressor.quant.formats import INT8, PER_TENSOR, UINT8, Granularity, choose_qparams, dequantize, quantize

ops = torch.ops.compressor


@pytest.mark.parametrize("granularity", [PER_TENSOR, Granularity(0), Granularity(1)], ids=str)
@pytest.mark.parametrize("fmt", [INT8, UINT8], ids=lambda f: f.name)
def test_ops_agree_with_formats(fmt: object, granularity: Granularity) -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    qparams = choose_qparams(x, fmt, granularity)  # type: ignore[arg-type]
    limits, axis = torch.iinfo(qparams.format.dtype), granularity.axis or 0
    q = ops.quantize(x, qparams.scale, qparams.zero_point, limits.min, limits.max, axis, qparams.format.dtype)
    assert torch.equal(q, quantize(x, qparams))
    assert torch.equal(ops.dequantize(q, qparams.scale, qparams.zero_point, axis), dequantize(q, qparams))


def test_rounding_is_half_to_even_and_saturates() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, 1e9, -1e9])
    q = ops.quantize(x, torch.tensor(1.0), torch.tensor(10, dtype=torch.uint8), 0, 255, 0, torch.uint8)
    assert q.tolist() == [10, 12, 12, 10, 255, 0]


@pytest.mark.parametrize("scale", [torch.tensor(0.1), torch.tensor([0.1, 0.2, 0.3])], ids=["tensor", "channel"])
def test_ops_trace(scale: Tensor) -> None:
    zero = torch.zeros(scale.shape, dtype=torch.int8)
    x = torch.randn(2, 3)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.quantize.default, (x, scale, zero, -128, 127, 1, torch.int8), test_utils=checks)
    q = torch.ones(2, 3, dtype=torch.int8)
    torch.library.opcheck(ops.dequantize.default, (q, scale, zero, 1), test_utils=checks)
