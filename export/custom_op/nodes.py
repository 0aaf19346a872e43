"""Packed products and tables as nodes of an ONNX model, which its library of custom operators runs.

    compressor::linear_packed     →  compressor::LinearBlocks(x, codes, scales [, bias])
    compressor::embedding_packed  →  compressor::EmbeddingBlocks(codes, scales, ids)

How weights lie are attributes of the node, by which the library finds its kernel (`operators.cpp`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnxscript.onnx_opset import opset18 as op  # the same nodes are valid in every later opset
from onnxscript.values import Op, Opset

from compressor.export.custom_op import ops as packed_ops  # noqa: F401  registers the custom ops

__all__ = ["ATTRIBUTES", "DOMAIN", "EMBEDDING", "LINEAR", "PACKED_TRANSLATIONS"]

DOMAIN = "compressor"
LINEAR, EMBEDDING = "LinearBlocks", "EmbeddingBlocks"
ATTRIBUTES = ("N", "K", "bits", "zero_point", "lanes", "vectors", "block_size", "group")  # a layout's, in its order


def linear_packed(x: Any, codes: Any, scales: Any, bias: Any, layout: Sequence[int]) -> Any:
    """One node; without a bias it has three inputs."""
    given = (x, codes, scales) if bias is None else (x, codes, scales, bias)
    return _LINEAR(*given, **dict(zip(ATTRIBUTES, layout, strict=True)))


def embedding_packed(codes: Any, scales: Any, ids: Any, layout: Sequence[int]) -> Any:
    """One node; ids are of 64 bits, as the operator takes them."""
    whole = op.Cast(ids, to=ir.DataType.INT64)  # the optimizer drops one that changes nothing
    return _EMBEDDING(codes, scales, whole, **dict(zip(ATTRIBUTES, layout, strict=True)))


def _schema(name: str, inputs: Sequence[tuple[str, str]], optional: str = "") -> onnx.defs.OpSchema:
    """What onnxscript has to know of an operator."""
    schema = onnx.defs.OpSchema
    kinds = {True: schema.FormalParameterOption.Optional, False: schema.FormalParameterOption.Single}
    constraints = [("F", ["tensor(float)"], ""), ("B", ["tensor(uint8)"], ""), ("I", ["tensor(int64)"], "")]
    return schema(
        name, DOMAIN, 1, "",
        inputs=[schema.FormalParameter(each, kind, param_option=kinds[each == optional]) for each, kind in inputs],
        outputs=[schema.FormalParameter("y", "F")], type_constraints=constraints,
        attributes=[schema.Attribute(each, schema.AttrType.INT, "", required=True) for each in ATTRIBUTES],
    )  # fmt: skip


_DOMAIN = Opset(DOMAIN, 1)
_LINEAR = Op(
    _DOMAIN, LINEAR, _schema(LINEAR, [("x", "F"), ("codes", "B"), ("scales", "F"), ("bias", "F")], optional="bias")
)
_EMBEDDING = Op(_DOMAIN, EMBEDDING, _schema(EMBEDDING, [("codes", "B"), ("scales", "F"), ("ids", "I")]))
PACKED_TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.compressor.linear_packed.default: linear_packed,
    torch.ops.compressor.embedding_packed.default: embedding_packed,
}
