"""Products and tables with weights in blocks of few bits, as ONNX Runtime's own operators.

    compressor::linear_blocks     →  com.microsoft.MatMulNBits(x, packed, scales, –, –, bias)
    compressor::embedding_blocks  →  com.microsoft.GatherBlockQuantized(packed, ids, scales), Reshape [, Slice]

(onnxruntime docs/ContribOperators.md.) Codes have the default zero point 2^(bits−1), so there is no zero-point
tensor. Accuracy level 4 lets the runtime round x to int8 by block and take its integer kernels; level 1 keeps floats.
A table is read in the layout of the product, rows of blocks of bytes, so that an embedding tied to the output layer is
stored once.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnxscript.onnx_opset import opset18 as op  # the same nodes are valid in every later opset
from onnxscript.values import Op, Opset

__all__ = ["embedding_blocks", "linear_blocks"]

_INTEGER, _FLOAT = 4, 1  # accuracy levels
_DOMAIN = "com.microsoft"


def linear_blocks(x: Any, packed: Any, scales: Any, bias: Any, bits: int, block: int, width: int, integer: bool) -> Any:
    """One node; x (…, K) by packed (N, ⌈K/block⌉, block·bits/8)."""
    given = (x, packed, scales) if bias is None else (x, packed, scales, None, None, bias)
    level = _INTEGER if integer else _FLOAT
    return _MATMUL(*given, K=width, N=packed.shape[0], bits=bits, block_size=block, accuracy_level=level)


def embedding_blocks(packed: Any, ids: Any, scales: Any, bits: int, block: int, width: int) -> Any:
    """Each block a row of its own with one scale; the blocks of an id are then put together."""
    column = op.Unsqueeze(scales, op.Constant(value_ints=[2]))
    blocks = _GATHER(packed, ids, column, bits=bits, block_size=block, gather_axis=0, quantize_axis=2)
    rank, padded = len(ids.shape), packed.shape[1] * block
    rows = op.Reshape(blocks, op.Constant(value_ints=[*[0] * rank, padded]))
    if padded == width:
        return rows
    return op.Slice(rows, *(op.Constant(value_ints=[number]) for number in (0, width, rank)))


def _gather_schema() -> onnx.defs.OpSchema:
    schema = onnx.defs.OpSchema
    inputs = [
        schema.FormalParameter(name, kind) for name, kind in (("data", "T1"), ("indices", "Tind"), ("scales", "T2"))
    ]
    constraints = [
        ("T1", ["tensor(uint8)"], ""), ("T2", ["tensor(float)"], ""), ("Tind", ["tensor(int32)", "tensor(int64)"], "")
    ]  # fmt: skip
    names = ("bits", "block_size", "gather_axis", "quantize_axis")
    attributes = [schema.Attribute(name, schema.AttrType.INT, "", required=True) for name in names]
    return schema(
        "GatherBlockQuantized", _DOMAIN, 1, "", inputs=inputs, outputs=[schema.FormalParameter("output", "T2")],
        type_constraints=constraints, attributes=attributes,
    )  # fmt: skip


def _schema() -> onnx.defs.OpSchema:
    """What onnxscript has to know of the operator, which is not of ONNX's own."""
    schema = onnx.defs.OpSchema
    optional = schema.FormalParameterOption.Optional
    inputs = [
        schema.FormalParameter("A", "T1"),
        schema.FormalParameter("B", "T2"),
        schema.FormalParameter("scales", "T1"),
        schema.FormalParameter("zero_points", "T2", param_option=optional),
        schema.FormalParameter("g_idx", "T3", param_option=optional),
        schema.FormalParameter("bias", "T1", param_option=optional),
    ]
    constraints = [("T1", ["tensor(float)"], ""), ("T2", ["tensor(uint8)"], ""), ("T3", ["tensor(int32)"], "")]
    names = ("K", "N", "bits", "block_size", "accuracy_level")
    attributes = [schema.Attribute(name, schema.AttrType.INT, "", required=True) for name in names]
    return schema(
        "MatMulNBits", _DOMAIN, 1, "", inputs=inputs, outputs=[schema.FormalParameter("Y", "T1")],
        type_constraints=constraints, attributes=attributes,
    )  # fmt: skip


_MATMUL = Op(Opset(_DOMAIN, 1), "MatMulNBits", _schema())
_GATHER = Op(Opset(_DOMAIN, 1), "GatherBlockQuantized", _gather_schema())
