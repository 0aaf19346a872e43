"""TVM's lowerings of layers of floats (`float_ops.py`).

    compressor::conv_last, dense              →  kernels on packed weights (export/kernels/), what follows inside
    compressor::attention                     →  one kernel for all of it
    compressor::max_pool_last, avg_pool_last  →  TVM's own pools of images with channels last

Weights are packed while the graph is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx
from torch.export import ExportedProgram
from tvm import relax

from compressor.export.kernels.calls import emit_attention, emit_convolution, emit_dense, emit_depthwise
from compressor.export.kernels.isa import Isa
from compressor.export.tvm_stored import Reading, arguments_of, data_of, end_of, pair, stored_in
from compressor.export.tvm_windows import windowed

__all__ = ["float_converters"]


def float_converters(exported: ExportedProgram, isa: Isa | None) -> Mapping[str, Callable[[fx.Node, Any], Any]]:
    """TVM's table of custom operators for this network, whose stored tensors they read."""
    floats = _Floats(stored_in(exported), isa)
    return {
        "conv_last.default": floats.convolution,
        "dense.default": floats.dense,
        "attention.default": floats.attention,
        "max_pool_last.default": _max_pool,
        "avg_pool_last.default": _mean_pool,
    }


class _Floats(Reading):
    def dense(self, node: fx.Node, importer: Any) -> Any:
        x, weight, scale, bias, *end = arguments_of(node)
        data, given = data_of(importer, x), (self.tensor(weight), self.optional(bias), end_of(importer, *end))
        return emit_dense(importer.block_builder, self.isa, data, *given, scale=self.optional(scale))

    def convolution(self, node: fx.Node, importer: Any) -> Any:
        x, weight, scale, bias, residual, low, high, codes, stride, padding, dilation, groups = arguments_of(node)
        builder, kernel, vector = importer.block_builder, self.tensor(weight), self.optional(bias)
        data, window = windowed(
            importer, data_of(importer, x), padding, 0.0, pair(kernel.shape[2:]), pair(stride), pair(dilation)
        )
        end = end_of(importer, residual, low, high, codes)
        scales = self.optional(scale)
        if groups == window.channels == len(kernel):  # few weights: as floats
            floats = kernel[:, 0] if scales is None else kernel[:, 0].float() * scales.view(-1, 1, 1)
            return emit_depthwise(builder, self.isa, data, window, floats, vector, end)
        weights = kernel.permute(0, 2, 3, 1)
        return emit_convolution(builder, self.isa, data, window, weights, groups, vector, end, scale=scales)

    def attention(self, node: fx.Node, importer: Any) -> Any:
        q, k, v, mask, causal, scale, first = arguments_of(node)
        inputs = [data_of(importer, each) for each in (q, k, v)]
        added = None if mask is None else data_of(importer, mask)
        return emit_attention(
            importer.block_builder, self.isa, inputs, added, causal=causal, scale=scale, first=tuple(first)
        )


def _max_pool(node: fx.Node, importer: Any) -> Any:
    x, kernel, stride, padding, dilation, ceil_mode = arguments_of(node)
    return importer.block_builder.emit(
        relax.op.nn.max_pool2d(
            data_of(importer, x), kernel, stride, padding * 2, dilation, ceil_mode, layout="NHWC"
        )
    )  # fmt: skip


def _mean_pool(node: fx.Node, importer: Any) -> Any:
    x, kernel, stride, padding, ceil_mode, whole = arguments_of(node)
    return importer.block_builder.emit(
        relax.op.nn.avg_pool2d(
            data_of(importer, x), kernel, stride, padding * 2, (1, 1), ceil_mode, whole, layout="NHWC"
        )
    )  # fmt: skip
