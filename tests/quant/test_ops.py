"""The custom ops: what they compute, that they trace, and that they agree with the formats."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import compressor.quant.ops  # noqa: F401  registers the ops
from compressor.quant.blocks import INT2, INT4, dequantize_blocks, quantize_blocks, round_by_block
from compressor.quant.formats import INT8, PER_TENSOR, UINT8, Format, Granularity, choose_qparams, dequantize, quantize

ops = torch.ops.compressor
CHECKS = ("test_schema", "test_faketensor")


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
    torch.library.opcheck(ops.quantize.default, (x, scale, zero, -128, 127, 1, torch.int8), test_utils=CHECKS)
    q = torch.ones(2, 3, dtype=torch.int8)
    torch.library.opcheck(ops.dequantize.default, (q, scale, zero, 1), test_utils=CHECKS)


@pytest.mark.parametrize("fmt", [INT4, INT2], ids=["int4", "int2"])
def test_blocks_multiply_as_the_matrix_they_stand_for(fmt: Format) -> None:
    random = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=random) for shape in ((3, 2, 70), (5, 70), (5,)))
    blocks = quantize_blocks(weight, fmt, 32)
    matrix, rest = dequantize_blocks(blocks), (fmt.bits, 32, 70)
    product = ops.linear_blocks(x, blocks.packed, blocks.scales, bias, *rest, False)
    assert torch.equal(product, torch.nn.functional.linear(x, matrix, bias))
    rounded = ops.linear_blocks(x, blocks.packed, blocks.scales, None, *rest, True)
    assert torch.equal(rounded, torch.nn.functional.linear(round_by_block(x, 32), matrix))


def test_the_block_op_traces() -> None:
    blocks = quantize_blocks(torch.randn(5, 70), INT4, 32)
    for bias in (None, torch.randn(5)):
        args = (torch.randn(3, 70), blocks.packed, blocks.scales, bias, 4, 32, 70, True)
        torch.library.opcheck(ops.linear_blocks.default, args, test_utils=CHECKS)
    with torch._subclasses.FakeTensorMode() as mode:
        fakes = [mode.from_tensor(tensor) for tensor in (torch.randn(3, 71), blocks.packed, blocks.scales)]
        with pytest.raises(RuntimeError, match="71 features, not 70"):
            ops.linear_blocks(*fakes, None, 4, 32, 70, True)


def test_rows_of_a_table_in_blocks() -> None:
    table = torch.randn(30, 70, generator=torch.Generator().manual_seed(0))
    blocks = quantize_blocks(table, INT4, 32)
    ids = torch.tensor([[0, 29, 5], [5, 5, 1]])
    found = torch.ops.compressor.embedding_blocks(blocks.packed, ids, blocks.scales, 4, 32, 70)
    assert torch.equal(found, dequantize_blocks(blocks)[ids])
    arguments = (blocks.packed, ids, blocks.scales, 4, 32, 70)
    torch.library.opcheck(ops.embedding_blocks.default, arguments, test_utils=CHECKS)
