"""ONNX lowerings of the operators that torch's exporter does not know or lowers badly.

    compressor::quantize    →  QuantizeLinear
    compressor::dequantize  →  DequantizeLinear
    compressor::linear_blocks →  com.microsoft.MatMulNBits   (export/onnx_blocks.py)
    compressor::embedding_blocks →  com.microsoft.GatherBlockQuantized
    compressor::patches     →  Pad, Slice, Concat              (export/onnx_windows.py)
    compressor::expand_slots  →  Gather by a computed map           (export/onnx_slots.py)
    compressor::linear_packed, embedding_packed  →  operators of our own   (export/custom_op/nodes.py)
    aten::batch_norm        →  BatchNormalization      (one node; torch's own takes six and a second trace)
    aten::to                →  Cast
    aten::adaptive_avg_pool →  GlobalAveragePool       (to one value)
    aten::avg_pool          →  AveragePool, Mul        (with a divisor of its own)
    grouped_mm              →  Slice, MatMul, Concat   (experts' rows, one product an expert)

Each function takes and returns ONNX values while torch traces the graph (`custom_translation_table`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.onnx_opset import opset18 as op  # the same nodes are valid in every later opset
from torch import fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export.custom_op.nodes import PACKED_TRANSLATIONS
from compressor.export.onnx_blocks import embedding_blocks, linear_blocks
from compressor.export.onnx_slots import expand_slots
from compressor.export.onnx_windows import patches
from compressor.graph.edit import argument
from compressor.graph.program import Program

__all__ = ["TRANSLATIONS", "shortcuts"]

_RANGES = {
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-(2**15), 2**15 - 1),
    ir.DataType.UINT16: (0, 2**16 - 1),
}


def quantize(x: Any, scale: Any, zero_point: Any, low: int, high: int, axis: int, dtype: int) -> Any:
    """QuantizeLinear saturates at the dtype's range; a narrower range is clipped explicitly."""
    kind = ir.DataType(dtype)
    q = op.QuantizeLinear(x, scale, _cast(zero_point, kind), axis=axis)
    if (low, high) == _RANGES[kind]:
        return q
    bounds = [op.Constant(value=ir.tensor(bound, dtype=kind)) for bound in (low, high)]
    return op.Clip(q, *bounds)


def dequantize(q: Any, scale: Any, zero_point: Any, axis: int) -> Any:
    """The zero point takes the quantized tensor's dtype, as the operator wants it."""
    return op.DequantizeLinear(q, scale, _cast(zero_point, q.dtype), axis=axis)


def batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, cudnn: bool
) -> Any:
    """With running statistics; without them, as weight standardization uses it, with those of x itself."""
    if training or mean is None or var is None:
        return _own_statistics(x, weight, bias, eps)
    weight = _filled(1.0, mean) if weight is None else weight
    bias = _filled(0.0, mean) if bias is None else bias
    return op.BatchNormalization(x, weight, bias, mean, var, epsilon=eps)


def _own_statistics(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    rank = len(x.shape)
    axes = op.Constant(value_ints=[axis for axis in range(rank) if axis != 1])
    centred = op.Sub(x, op.ReduceMean(x, axes))
    var = op.ReduceMean(op.Mul(centred, centred), axes)
    y = op.Div(centred, op.Sqrt(op.Add(var, op.CastLike(op.Constant(value_floats=[eps]), x))))
    column = op.Constant(value_ints=[-1, *[1] * (rank - 2)])
    y = y if weight is None else op.Mul(y, op.Reshape(weight, column))
    return y if bias is None else op.Add(y, op.Reshape(bias, column))


def adaptive_avg_pool(x: Any, output_size: Sequence[int]) -> Any:
    """To one value, the mean of each channel."""
    return op.GlobalAveragePool(x)


def to_dtype(x: Any, dtype: int, *unused: Any, **also_unused: Any) -> Any:
    """What is left says whether to copy and in which memory format, which ONNX does not know."""
    return _cast(x, ir.DataType(dtype))


def to_dtype_layout(x: Any, dtype: int | None = None, **unused: Any) -> Any:
    """Layout, device and pinning do not exist in ONNX."""
    return op.Identity(x) if dtype is None or dtype < 0 else _cast(x, ir.DataType(dtype))


def to_device(x: Any, device: Any, dtype: int, *unused: Any, **also_unused: Any) -> Any:
    return _cast(x, ir.DataType(dtype))


def same(x: Any, *unused: Any, **also_unused: Any) -> Any:
    """Memory formats do not exist in ONNX."""
    return op.Identity(x)


def item(x: Any) -> Any:
    """A value read from a tensor of one element, in the dtypes that Python numbers have."""
    kinds = {ir.DataType.BOOL: ir.DataType.BOOL}
    wanted = ir.DataType.FLOAT if x.dtype.is_floating_point() else kinds.get(x.dtype, ir.DataType.INT64)
    return _cast(op.Squeeze(x), wanted)


def numel(x: Any) -> Any:
    """A number of elements that depends on a dynamic dimension."""
    return op.Size(x)


def divided_pool(
    x: Any, kernel_size: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int = 1,
) -> Any:  # fmt: skip
    """The sum of each window over `divisor_override`, which torch's translation leaves out."""
    rank = len(x.shape) - 2
    kernel, pads = _each(kernel_size, rank), _each(padding, rank)
    mean = op.AveragePool(
        x, kernel_shape=kernel, strides=_each(stride or kernel, rank), pads=[*pads, *pads], count_include_pad=1
    )
    return op.Mul(mean, op.CastLike(op.Constant(value_floats=[math.prod(kernel) / divisor_override]), x))


def _each(sizes: Sequence[int], rank: int) -> list[int]:
    return list(sizes) * rank if len(sizes) == 1 else list(sizes)


def grouped_mm(x: Any, weight: Any, offs: Any, *unused: Any) -> Any:
    """Each expert's rows times its matrix: rows [offs[g − 1], offs[g]) of x (S, K) by weight[g] (K, N)."""
    ends = _cast(offs, ir.DataType.INT64)
    start, parts = op.Constant(value_ints=[0]), []
    for group in range(weight.shape[0]):
        end = op.Gather(ends, op.Constant(value_ints=[group]))
        matrix = op.Gather(weight, op.Constant(value_int=group))
        parts.append(op.MatMul(op.Slice(x, start, end, op.Constant(value_ints=[0])), matrix))
        start = end
    return op.Concat(*parts, axis=0)


def _cast(value: Any, kind: ir.DataType) -> Any:
    return op.Cast(value, to=kind)  # the optimizer drops one that changes nothing


def _filled(value: float, like: Any) -> Any:
    return op.Expand(op.CastLike(op.Constant(value_floats=[value]), like), op.Shape(like))


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.compressor.quantize.default: quantize,
    torch.ops.compressor.dequantize.default: dequantize,
    torch.ops.compressor.linear_blocks.default: linear_blocks,
    torch.ops.compressor.embedding_blocks.default: embedding_blocks,
    torch.ops.compressor.patches.default: patches,
    torch.ops.compressor.expand_slots.default: expand_slots,
    **PACKED_TRANSLATIONS,
    torch.ops.aten.batch_norm.default: batch_norm,
    torch.ops.aten.to.dtype: to_dtype,
    torch.ops.aten.to.dtype_layout: to_dtype_layout,
    torch.ops.aten.to.device: to_device,
    torch.ops.aten.contiguous.default: same,
    torch.ops.aten.sym_numel.default: numel,
    torch.ops.aten.item.default: item,
}


def _to_one_value(node: fx.Node) -> bool:
    x, size = node.args
    return isinstance(x, fx.Node) and x.meta["val"].dim() == len(size) + 2 and set(size) == {1}  # type: ignore[arg-type]


def _divides(node: fx.Node) -> bool:
    return argument(node, "divisor_override") is not None and not argument(node, "ceil_mode")


def _by_rows(node: fx.Node) -> bool:
    values: list[Any] = [given.meta.get("val") if isinstance(given, fx.Node) else given for given in node.args]
    x, weight, offs, *rest = values
    return x.dim() == 2 and weight.dim() == 3 and offs is not None and not any(rest) and not node.kwargs


# By name: some belong to a library that may not be installed.
_SHORTCUTS: Mapping[str, tuple[Callable[..., Any], Callable[[fx.Node], bool]]] = {
    "aten.adaptive_avg_pool1d.default": (adaptive_avg_pool, _to_one_value),
    "aten.adaptive_avg_pool2d.default": (adaptive_avg_pool, _to_one_value),
    "aten.adaptive_avg_pool3d.default": (adaptive_avg_pool, _to_one_value),
    "aten.avg_pool2d.default": (divided_pool, _divides),
    "aten.avg_pool3d.default": (divided_pool, _divides),
    "aten._grouped_mm.default": (grouped_mm, _by_rows),
    "transformers.grouped_mm_fallback.default": (grouped_mm, _by_rows),
}


def shortcuts(program: Program) -> Mapping[Any, Callable[..., Any]]:
    """The translations that hold for every call of their operator in this program."""
    calls: dict[Any, list[fx.Node]] = {}
    for node in program.nodes():
        if str(node.target) in _SHORTCUTS:
            calls.setdefault(node.target, []).append(node)
    found = {target: (*_SHORTCUTS[str(target)], nodes) for target, nodes in calls.items()}
    return {target: translation for target, (translation, fits, nodes) in found.items() if all(map(fits, nodes))}
