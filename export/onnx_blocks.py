"""Products with weights in blocks of few bits, as ONNX Runtime's own operator.

    compressor::linear_blocks  →  com.microsoft.MatMulNBits(x, packed, scales, –, –, bias)

(onnxruntime docs/ContribOperators.md.) Codes have the default zero point 2^(bits−1), so there is no zero-point
tensor. Accuracy level 4 lets the runtime round x to int8 by block and take its integer kernels; level 1 keeps floats.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnxscript.values import Op, Opset

__all__ = ["linear_blocks"]

_INTEGER, _FLOAT = 4, 1  # accuracy levels
_DOMAIN = "com.microsoft"


def linear_blocks(x: Any, packed: Any, scales: Any, bias: Any, bits: int, block: int, width: int, integer: bool) -> Any:
    """One node; x (…, K) by packed (N, ⌈K/block⌉, block·bits/8)."""
    given = (x, packed, scales) if bias is None else (x, packed, scales, None, None, bias)
    level = _INTEGER if integer else _FLOAT
    return _MATMUL(*given, K=width, N=packed.shape[0], bits=bits, block_size=block, accuracy_level=level)


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
