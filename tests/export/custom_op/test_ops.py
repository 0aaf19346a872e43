"""Packed products and tables in PyTorch: what the same weights give in blocks, shapes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from compressor.export.custom_op import ops as packed_ops
from compressor.export.custom_op.ops import layout_of, numbers_of
from compressor.export.kernels.packing import Layout, Packed, pack_outputs, pack_weights
from compressor.quant.blocks import round_by_block

ops = torch.ops.compressor
LAYOUT = Layout(outputs=21, inputs=70, bits=4, zero=8, lanes=4, vectors=2, block=32)


@pytest.fixture
def matrix() -> tuple[torch.Tensor, Packed]:
    """Floats (21, 70), and the codes that they are."""
    torch.manual_seed(0)
    codes, scales = torch.randint(-8, 8, (21, 70), dtype=torch.int8), torch.rand(21, 3)
    return codes.float() * scales.repeat_interleave(32, 1)[:, :70], pack_weights(codes, scales, LAYOUT)


def test_a_layout_goes_through_its_numbers() -> None:
    for layout in (LAYOUT, replace(LAYOUT, group=8)):
        assert layout_of(numbers_of(layout)) == layout
    with pytest.raises(ValueError, match="without blocks"):
        numbers_of(Layout(8, 32, 2, 1, 4, 2))


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_rounds_its_input_and_multiplies(matrix: tuple[torch.Tensor, Packed], bias: bool) -> None:
    weight, packed = matrix
    x, b = torch.randn(2, 3, 70), torch.randn(21) if bias else None
    padded = None if b is None else pack_outputs(b, LAYOUT)
    found = ops.linear_packed(x, packed.codes, packed.scales, padded, numbers_of(LAYOUT))
    torch.testing.assert_close(found, functional.linear(round_by_block(x, 32), weight, b))


def test_a_table_gives_rows(matrix: tuple[torch.Tensor, Packed]) -> None:
    weight, packed = matrix
    ids = torch.tensor([[0, 20], [7, 7]])
    assert torch.equal(ops.embedding_packed(packed.codes, packed.scales, ids, numbers_of(LAYOUT)), weight[ids])


def test_shapes_are_known_without_numbers(matrix: tuple[torch.Tensor, Packed]) -> None:
    _, packed = matrix
    given = packed.codes, packed.scales
    for function, args in (
        (packed_ops.linear_packed, (torch.randn(2, 70), *given, None, numbers_of(LAYOUT))),
        (packed_ops.embedding_packed, (*given, torch.tensor([1, 2]), numbers_of(LAYOUT))),
    ):
        torch.library.opcheck(function, args, test_utils=("test_schema", "test_faketensor"))
    with pytest.raises(RuntimeError, match="5 features, not 70"), torch.device("meta"):
        ops.linear_packed(torch.empty(2, 5), torch.empty(1), torch.empty(1), None, numbers_of(LAYOUT))
