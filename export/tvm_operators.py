"""TVM's lowerings of the operators of quantized networks.

    compressor::quantize, dequantize   →  loops over elements, rounded half to even, which TVM fuses with others
    compressor::linear_blocks          →  kernels on packed weights (export/kernels/), where x is rounded to int8;
                                          else a product of floats by what the codes stand for
    compressor::embedding_blocks, table_codes  →  rows of the same packed codes
    compressor::linear_codes, conv_codes  →  kernels on packed weights, exact sums; depthwise ones as loops

Stored weights are packed once, while the graph is read, also where several layers share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from tvm import relax, te, tirx

from compressor.errors import ExportError
from compressor.export.kernels.blocks import packed_blocks
from compressor.export.kernels.depthwise import emit_depthwise
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.linear import emit_codes, emit_linear
from compressor.export.kernels.module import constant, count, sized
from compressor.export.kernels.packing import Packed, pack_weights
from compressor.export.kernels.patches import Window
from compressor.export.kernels.table import emit_table
from compressor.quant.blocks import BLOCK_FORMATS, Blocks, dequantize_blocks

__all__ = ["converters"]

_UNSIGNED = 128  # what an unsigned byte is larger by than the signed one of the same bits, its first one flipped


def converters(exported: ExportedProgram, isa: Isa | None) -> Mapping[str, Callable[[fx.Node, Any], Any]]:
    """TVM's table of custom operators for this network, whose stored tensors they read.

    `isa` None: the processor has no kernels, and a network that needs them is refused with ExportError.
    """
    with_kernels = _Converters(_stored(exported), isa)
    return {
        "quantize.default": with_kernels.quantize,
        "dequantize.default": with_kernels.dequantize,
        "linear_blocks.default": with_kernels.linear_blocks,
        "embedding_blocks.default": with_kernels.embedding_blocks,
        "linear_codes.default": with_kernels.linear_codes,
        "conv_codes.default": with_kernels.conv_codes,
        "table_codes.default": with_kernels.table_codes,
    }


def _stored(exported: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and constants by the name of the node that reads them."""
    known = {**exported.constants, **exported.state_dict}
    specs = exported.graph_signature.input_specs
    return {spec.arg.name: known[spec.target] for spec in specs if spec.target in known}


@dataclass
class _Converters:
    stored: Mapping[str, Tensor]
    kernels: Isa | None
    packed: dict[tuple[object, ...], Packed] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)  # what `packed` knows by its address, so that no other gets it

    @property
    def isa(self) -> Isa:
        if self.kernels is None:
            raise ExportError("there are no kernels for this processor", way_out="Leave --runtime out.")
        return self.kernels

    def quantize(self, node: fx.Node, importer: Any) -> Any:
        x, scale, zero, low, high, axis, dtype = _arguments(node)
        data, width = _data(importer, x), str(dtype).removeprefix("torch.")
        given, at = self._parameters(scale, zero, axis, data, "float32")
        low, high = (tirx.const(float(bound), "float32") for bound in (low, high))

        def rounded(x: Any, *parts: Any) -> Any:
            def one(*place: Any) -> Any:
                scale, zero = at(parts, place)
                return tirx.max(tirx.min(tirx.nearbyint(x(*place) / scale) + zero, high), low).astype(width)

            return te.compute(x.shape, one, name="quantize")

        return importer.block_builder.emit_te(rounded, data, *given, primfunc_name_hint="quantize")

    def dequantize(self, node: fx.Node, importer: Any) -> Any:
        q, scale, zero, axis = _arguments(node)
        data = _data(importer, q)
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
        values = self._tensor(scale).float(), self._tensor(zero).to(getattr(torch, kind))
        if all(value.dim() == 0 for value in values):
            one = tirx.const(float(values[0]), "float32"), tirx.const(values[1].item(), kind)
            return [], lambda parts, place: one
        size = max(value.numel() for value in values)
        return [constant(value.expand(size)) for value in values], lambda parts, place: [p(place[axis]) for p in parts]

    def linear_blocks(self, node: fx.Node, importer: Any) -> Any:
        x, codes, scales, bias, bits, block, width, integer = _arguments(node)
        builder, data = importer.block_builder, _data(importer, x)
        vector = self._optional(bias)
        if integer:
            packed = self._packed(codes, scales, bits, block, width)
            return emit_linear(builder, self.isa, data, packed, vector, by_block=True)
        format = BLOCK_FORMATS[f"int{bits}"]
        weight = dequantize_blocks(Blocks(self._tensor(codes), self._tensor(scales), format, block, width))
        held = None if vector is None else constant(vector)
        return builder.emit(relax.op.linear(data, constant(weight), held, "float32"))

    def embedding_blocks(self, node: fx.Node, importer: Any) -> Any:
        codes, ids, scales, bits, block, width = _arguments(node)
        packed = self._packed(codes, scales, bits, block, width)
        return emit_table(importer.block_builder, _data(importer, ids), packed)

    def table_codes(self, node: fx.Node, importer: Any) -> Any:
        weight, scales, ids = _arguments(node)
        return emit_table(importer.block_builder, _data(importer, ids), self._bytes(self._tensor(weight), scales))

    def linear_codes(self, node: fx.Node, importer: Any) -> Any:
        q, scale, zero, weight, weight_scale, counts, bias, relu = _arguments(node)
        builder, (data, shift) = importer.block_builder, _signed(importer, q)
        matrix, point = self._tensor(weight), int(self._tensor(zero)) - shift
        *lead, width = data.ty.shape.values
        flat = builder.emit(relax.op.reshape(data, (count(lead), width)))
        y = self._by_codes(builder, flat, Window(int(width)), scale, point, matrix, weight_scale, counts, bias, relu)
        return builder.emit(relax.op.reshape(y, (*lead, matrix.shape[0])))

    def conv_codes(self, node: fx.Node, importer: Any) -> Any:
        q, scale, zero, weight, weight_scale, counts, bias, relu, stride, padding, dilation, groups = _arguments(node)
        builder, (data, shift) = importer.block_builder, _signed(importer, q)
        kernel, point = self._tensor(weight), int(self._tensor(zero)) - shift
        samples, channels, height, width = data.ty.shape.values
        left, right, above, below = padding
        data = builder.emit(relax.op.permute_dims(data, [0, 2, 3, 1]))
        if any(padding):
            data = builder.emit(relax.op.nn.pad(data, [0, 0, above, below, left, right, 0, 0], pad_value=point))
        window = Window(
            int(channels), int(height) + above + below, int(width) + left + right,
            _two(kernel.shape[2:]), _two(stride), _two(dilation),
        )  # fmt: skip
        if groups > 1:
            offsets, vector = self._offsets(point, kernel.flatten(1), counts), self._optional(bias)
            scales = self._tensor(scale) * self._tensor(weight_scale)
            y = emit_depthwise(builder, data, window, kernel[:, 0], scales, offsets, vector, relu=relu)
        else:
            flat = builder.emit(relax.op.reshape(data, (samples, window.height * window.width * window.channels)))
            matrix = kernel.permute(0, 2, 3, 1).flatten(1)
            y = self._by_codes(builder, flat, window, scale, point, matrix, weight_scale, counts, bias, relu)
            y = builder.emit(relax.op.reshape(y, (samples, *window.places, len(matrix))))
        return builder.emit(relax.op.permute_dims(y, [0, 3, 1, 2]))

    def _by_codes(
        self, builder: Any, q: Any, window: Window, scale: Any, point: int, matrix: Tensor, scales: Any, counts: Any,
        bias: Any, relu: Any,
    ) -> Any:  # fmt: skip
        packed = self._bytes(matrix, scales)
        offsets, unit = self._offsets(point, matrix, counts), float(self._tensor(scale))
        return emit_codes(builder, self.isa, q, window, unit, packed, offsets, self._optional(bias), relu=relu)

    def _offsets(self, point: int, matrix: Tensor, counts: Any) -> Tensor:
        """What is added to the sums of products (N): a bias in their unit, less what the zero point put into them."""
        offsets = -point * matrix.to(torch.int32).sum(1)
        return (offsets if counts is None else offsets + self._tensor(counts)).to(torch.int32)

    def _bytes(self, matrix: Tensor, scales: Any) -> Packed:
        """Weights of a byte; the same memory once, by whatever names it is read."""
        values = self._tensor(scales)
        key = matrix.data_ptr(), matrix.stride(), values.data_ptr()
        if key not in self.packed:
            self.alive += [matrix, values]
            self.packed[key] = pack_weights(matrix, values, self.isa.layout(matrix.shape[0], matrix.shape[1], 8))
        return self.packed[key]

    def _packed(self, codes: Any, scales: Any, bits: Any, block: Any, width: Any) -> Packed:
        key = codes.name, scales.name
        if key not in self.packed:
            tensors = self._tensor(codes), self._tensor(scales)
            self.packed[key] = packed_blocks(self.isa, *tensors, bits, block, width)
        return self.packed[key]

    def _optional(self, node: Any) -> Tensor | None:
        return None if node is None else self._tensor(node)

    def _tensor(self, node: Any) -> Tensor:
        """A stored tensor. Raises ExportError for one that is computed."""
        if not isinstance(node, fx.Node) or node.name not in self.stored:
            raise ExportError(f"TVM takes stored scales, weights and biases alone; {node} is computed")
        return self.stored[node.name].detach()


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    return node.args


def _two(sizes: Sequence[int]) -> tuple[int, int]:
    first, second = sizes
    return int(first), int(second)


def _data(importer: Any, node: fx.Node) -> Any:
    return sized(importer.block_builder, importer.env[node], node.meta["val"].shape)


def _signed(importer: Any, q: Any) -> tuple[Any, int]:
    """Codes as signed bytes, and by what they are less than they were."""
    data = _data(importer, q)
    if data.ty.dtype == "int8":
        return data, 0
    flipped = importer.block_builder.emit(relax.op.bitwise_xor(data, relax.const(_UNSIGNED, "uint8")))
    return importer.block_builder.emit(relax.op.astype(flipped, "int8")), _UNSIGNED
