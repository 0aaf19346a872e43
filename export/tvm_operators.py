"""TVM's lowerings of the operators of quantized networks.

    compressor::quantize, dequantize   →  loops over elements, rounded half to even, which TVM fuses with others
    compressor::linear_blocks          →  kernels on packed weights (export/kernels/), where x is rounded to int8;
                                          else a product of floats by what the codes stand for
    compressor::patches                →  a gathering loop; where such kernels read them, codes are gathered instead
    compressor::embedding_blocks, table_codes  →  rows of the same packed codes
    compressor::linear_codes, conv_codes  →  kernels on packed weights, exact sums, what follows inside

Stored weights are packed once, while the graph is read, also where several layers share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from tvm import relax, te, tirx

from compressor.export.kernels.blocks import packed_blocks
from compressor.export.kernels.calls import Codes, behind, emit_convolution, emit_dense, emit_depthwise
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.linear import emit_codes, emit_linear, emit_window
from compressor.export.kernels.module import End, constant, count
from compressor.export.kernels.packing import Packed, pack_weights
from compressor.export.kernels.patches import Window
from compressor.export.kernels.table import emit_table
from compressor.export.tvm_stored import Reading, arguments_of, data_of, end_of, pair, stored_in
from compressor.export.tvm_windows import is_by_pixel, laid_patches, met_by, windowed
from compressor.graph.edit import is_call
from compressor.quant.blocks import BLOCK_FORMATS, Blocks, dequantize_blocks

__all__ = ["converters"]

ops = torch.ops.compressor
_UNSIGNED = 128  # what an unsigned byte is larger by than the signed one of the same bits, its first one flipped


def converters(exported: ExportedProgram, isa: Isa | None) -> Mapping[str, Callable[[fx.Node, Any], Any]]:
    """TVM's table of custom operators for this network, whose stored tensors they read.

    `isa` None: the processor has no kernels, and a network that needs them is refused with ExportError.
    """
    with_kernels = _Converters(stored_in(exported), isa)
    return {
        "quantize.default": with_kernels.quantize,
        "dequantize.default": with_kernels.dequantize,
        "linear_blocks.default": with_kernels.linear_blocks,
        "embedding_blocks.default": with_kernels.embedding_blocks,
        "patches.default": laid_patches,
        "linear_codes.default": with_kernels.linear_codes,
        "conv_codes.default": with_kernels.conv_codes,
        "table_codes.default": with_kernels.table_codes,
    }


@dataclass
class _Converters(Reading):
    packed: dict[tuple[object, ...], Packed] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)  # what `packed` knows by its address, so that no other gets it

    def quantize(self, node: fx.Node, importer: Any) -> Any:
        x, scale, zero, low, high, axis, dtype = arguments_of(node)
        data, width = data_of(importer, x), str(dtype).removeprefix("torch.")
        given, at = self._parameters(scale, zero, axis, data, "float32")
        low, high = (tirx.const(float(bound), "float32") for bound in (low, high))

        def rounded(x: Any, *parts: Any) -> Any:
            def one(*place: Any) -> Any:
                scale, zero = at(parts, place)
                return tirx.max(tirx.min(tirx.nearbyint(x(*place) / scale) + zero, high), low).astype(width)

            return te.compute(x.shape, one, name="quantize")

        return importer.block_builder.emit_te(rounded, data, *given, primfunc_name_hint="quantize")

    def dequantize(self, node: fx.Node, importer: Any) -> Any:
        q, scale, zero, axis = arguments_of(node)
        data = data_of(importer, q)
        given, at = self._parameters(scale, zero, axis, data, "int32")

        def restored(q: Any, *parts: Any) -> Any:
            def one(*place: Any) -> Any:
                scale, zero = at(parts, place)
                return (q(*place).astype("int32") - zero).astype("float32") * scale

            return te.compute(q.shape, one, name="dequantize")

        return importer.block_builder.emit_te(restored, data, *given, primfunc_name_hint="dequantize")

    def _parameters(
        self, scale: Any, zero: Any, axis: Any, data: Any, kind: str
    ) -> tuple[list[Any], Callable[..., Any]]:
        """What else an element's loop reads, and the element's scale and zero point (a `kind`) from that and its place.

        Whole numbers stay so until the scale is applied: what may reorder sums does not reach them.
        """
        values = self.tensor(scale).float(), self.tensor(zero).to(getattr(torch, kind))
        if all(value.dim() == 0 for value in values):
            one = tirx.const(float(values[0]), "float32"), tirx.const(values[1].item(), kind)
            return [], lambda parts, place: one
        size = max(value.numel() for value in values)
        return [constant(value.expand(size)) for value in values], lambda parts, place: [p(place[axis]) for p in parts]

    def linear_blocks(self, node: fx.Node, importer: Any) -> Any:
        x, codes, scales, bias, bits, block, width, integer = arguments_of(node)
        builder, data = importer.block_builder, data_of(importer, x)
        vector = self.optional(bias)
        if integer:
            packed = self._packed(codes, scales, bits, block, width)
            if is_call(x, ops.patches.default) and is_by_pixel(x, block):
                image, window = met_by(importer, x)
                y = emit_window(builder, self.isa, image, window, packed, vector)
                return y if node.meta["val"].dim() == 4 else builder.emit(relax.op.squeeze(y, 1))
            return emit_linear(builder, self.isa, data, packed, vector, by_block=True)
        format = BLOCK_FORMATS[f"int{bits}"]
        weight = dequantize_blocks(Blocks(self.tensor(codes), self.tensor(scales), format, block, width))
        if self.kernels is not None:
            return emit_dense(builder, self.kernels, data, weight, vector)
        held = None if vector is None else constant(vector)
        return builder.emit(relax.op.linear(data, constant(weight), held, "float32"))

    def embedding_blocks(self, node: fx.Node, importer: Any) -> Any:
        codes, ids, scales, bits, block, width = arguments_of(node)
        packed = self._packed(codes, scales, bits, block, width)
        return emit_table(importer.block_builder, data_of(importer, ids), packed)

    def table_codes(self, node: fx.Node, importer: Any) -> Any:
        weight, scales, ids = arguments_of(node)
        return emit_table(importer.block_builder, data_of(importer, ids), self._bytes(self.tensor(weight), scales))

    def linear_codes(self, node: fx.Node, importer: Any) -> Any:
        q, scale, zero, weight, weight_scale, counts, bias, *end = arguments_of(node)
        builder, (data, shift) = importer.block_builder, _as_bytes(importer, data_of(importer, q), unsigned=False)
        matrix, point = self.tensor(weight), int(self.tensor(zero)) - shift
        *lead, width = data.ty.shape.values
        flat = builder.emit(relax.op.reshape(data, (count(lead), width)))
        given = scale, point, matrix, weight_scale, counts, bias, end_of(importer, *end)
        y = self._by_codes(builder, flat, Window(int(width)), *given)
        return builder.emit(relax.op.reshape(y, (*lead, matrix.shape[0])))

    def conv_codes(self, node: fx.Node, importer: Any) -> Any:
        q, scale, zero, weight, weight_scale, counts, bias, *rest = arguments_of(node)
        *end, stride, padding, dilation, groups = rest
        kernel = self.tensor(weight)
        alone = groups == len(kernel) and kernel.shape[1] == 1
        isa = self.isa.for_codes(kernel.shape[1])
        spare = 0 if alone else behind(isa, kernel.shape[1], groups)
        sizes = pair(kernel.shape[2:]), pair(stride), pair(dilation), spare
        data, window = windowed(importer, data_of(importer, q), padding, int(self.tensor(zero)), *sizes)
        data, shift = (data, 0) if alone else _as_bytes(importer, data, unsigned=isa.unsigned_inputs)
        offsets = self._offsets(int(self.tensor(zero)) - shift, kernel.flatten(1), counts)
        codes = Codes(offsets, self.tensor(scale) * self.tensor(weight_scale))
        given = importer.block_builder, isa, data, window
        after = self.optional(bias), end_of(importer, *end), codes
        if alone:
            return emit_depthwise(*given, kernel[:, 0], *after)
        return emit_convolution(*given, kernel.permute(0, 2, 3, 1), groups, *after)

    def _by_codes(
        self, builder: Any, q: Any, window: Window, scale: Any, point: int, matrix: Tensor, scales: Any, counts: Any,
        bias: Any, end: End,
    ) -> Any:  # fmt: skip
        packed = self._bytes(matrix, scales)
        offsets, unit = self._offsets(point, matrix, counts), float(self.tensor(scale))
        isa = self.isa.for_codes()
        return emit_codes(builder, isa, q, window, unit, packed, offsets, self.optional(bias), end=end)

    def _offsets(self, point: int, matrix: Tensor, counts: Any) -> Tensor:
        """What is added to the sums of products (N): a bias in their unit, less what the zero point put into them."""
        offsets = -point * matrix.to(torch.int32).sum(1)
        return (offsets if counts is None else offsets + self.tensor(counts)).to(torch.int32)

    def _bytes(self, matrix: Tensor, scales: Any) -> Packed:
        """Weights of a byte; the same memory once, by whatever names it is read."""
        values = self.tensor(scales)
        key = matrix.data_ptr(), matrix.stride(), values.data_ptr()
        if key not in self.packed:
            self.alive += [matrix, values]
            least = -127 if bool((matrix > -128).all()) else -128
            layout = self.isa.for_codes().layout(matrix.shape[0], matrix.shape[1], 8, lowest=least)
            self.packed[key] = pack_weights(matrix, values, layout)
        return self.packed[key]

    def _packed(self, codes: Any, scales: Any, bits: Any, block: Any, width: Any) -> Packed:
        key = codes.name, scales.name
        if key not in self.packed:
            tensors = self.tensor(codes), self.tensor(scales)
            self.packed[key] = packed_blocks(self.isa, *tensors, bits, block, width)
        return self.packed[key]


def _as_bytes(importer: Any, data: Any, *, unsigned: bool) -> tuple[Any, int]:
    """Codes as bytes of that kind, and by what they are less than they were."""
    given, kind = data.ty.dtype, "uint8" if unsigned else "int8"
    if given == kind:
        return data, 0
    bit = relax.const(_UNSIGNED if given == "uint8" else -_UNSIGNED, given)
    flipped = importer.block_builder.emit(relax.op.bitwise_xor(data, bit))
    return importer.block_builder.emit(relax.op.astype(flipped, kind)), -_UNSIGNED if unsigned else _UNSIGNED
