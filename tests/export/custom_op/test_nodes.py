"""Nodes of custom operators in an ONNX model: one a layer, with the layout as attributes."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from own_operators import in_blocks, tied, x86_64

from compressor.export.custom_op.nodes import ATTRIBUTES, DOMAIN, EMBEDDING, LINEAR
from compressor.export.custom_op.packed import in_packed
from compressor.export.onnx import to_onnx
from compressor.export.operators import place
from compressor.graph.program import Program

pytest.importorskip("tvm", reason="needs apache-tvm (the tvm extra)")

from compressor.export.kernels.isa import AVX2


def lowered(program: Program) -> onnx.ModelProto:
    return ir.to_proto(to_onnx(in_packed(program, AVX2), x86_64()).model)


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_a_node_with_its_weights_stored(bias: bool) -> None:
    model = lowered(in_blocks(37, 130, "int2", 64, bias=bias))
    [node] = model.graph.node
    assert (node.domain, node.op_type, len(node.input)) == (DOMAIN, LINEAR, 4 if bias else 3)
    numbers = {each.name: each.i for each in node.attribute}
    assert tuple(numbers[name] for name in ATTRIBUTES) == (37, 130, 2, 2, 8, 2, 64, 4)
    assert {each.name for each in model.graph.initializer} == set(node.input[1:])
    assert DOMAIN in {each.domain for each in model.opset_import}


def test_a_table_takes_ids_of_64_bits() -> None:
    model = lowered(tied())
    [table] = (node for node in model.graph.node if node.op_type == EMBEDDING)
    [product] = (node for node in model.graph.node if node.op_type == LINEAR)
    assert list(table.input[:2]) == list(product.input[1:3])
    assert [node.op_type for node in model.graph.node] == [EMBEDDING, "Tanh", LINEAR]


def test_they_run_on_the_processor() -> None:
    model = to_onnx(in_packed(in_blocks(8, 32), AVX2), x86_64()).model
    assert place(model, x86_64()).counts == {"CPUExecutionProvider": 1}
    assert torch.ops.compressor.linear_packed is not None
