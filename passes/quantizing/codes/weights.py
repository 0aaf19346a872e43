"""Stored weights to integer codes, in place of the floats.

    W  →  dequantize(Wq, s)             symmetric, one scale an output channel
    b  →  dequantize(bq, s_x · s)       int32, counted in the unit of the integer accumulator
    embedding(W, ids)  →  embedding(Wq, ids) · embedding(s, ids)      only the rows that are read are converted

Tensors that share memory (an embedding tied to the output layer) keep sharing one integer tensor. Where one call
multiplies by its rows and another by its columns (a matrix tied to its transpose), one scale does for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.edit import add_tensor, attribute, insert, read, set_tensor, substitute, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.ties import storage_key, turned_names
from compressor.passes.reading.matrix import from_matrix, to_matrix
from compressor.quant.formats import Format, Granularity, QParams, choose_qparams, dequantize, quantize
from compressor.quant.solvers.rounding import Rounded

__all__ = ["Codes", "WeightWriter", "fake_weight", "matrix_of", "weight_codes"]

aten, ops = torch.ops.aten, torch.ops.compressor
SMALLEST_UNIT = 2.0**-120  # of an accumulator: a normal float32
ACCUMULATOR = 2**30  # a bias may use half of an int32 accumulator


@dataclass(frozen=True)
class Codes:
    """Where a quantized weight's codes and scales are stored; `axis` is the one that the scales lie along."""

    weight: str
    scale: str
    zero_point: str
    qparams: QParams
    axis: int = 0


@dataclass
class WeightWriter:
    """Writes the weights of one program's `layers`, each memory once; `solved` are codes found on data, by layer."""

    program: Program
    layers: Sequence[Layer]
    solved: Mapping[str, Rounded] = field(default_factory=dict)
    written: dict[tuple[int, ...], Codes] = field(default_factory=dict)
    along: dict[tuple[str, int], Codes] = field(default_factory=dict)  # the same codes, scales along another axis
    turned: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.turned = turned_names(self.program, self.layers)

    def weight(self, layer: Layer, format: Format, input_scale: Tensor | None = None) -> Codes:
        """Replace the layer's weight by codes that every call reads. A tied weight is written once."""
        tensor = self.program.get(layer.weight)
        key = storage_key(tensor) if tensor.is_floating_point() else ()
        codes = self.written.get(key) or next((c for c in self.written.values() if c.weight == layer.weight), None)
        if codes is None:
            solved, even = self.solved.get(layer.name), layer.name in self.turned
            values, qparams = weight_codes(self.program, layer, format, input_scale, solved, even=even)
            name = self._store(layer.weight, values, layer.nodes[0])
            codes = self.written[key] = self._scaled(layer, name, qparams)
        elif codes.axis != layer.axis:
            codes = self._turned(layer, codes)
        for node in layer.nodes:
            (self._embed if layer.kind == "embedding" else self._dequantize)(layer, node, codes)
        return codes

    def _scaled(self, layer: Layer, name: str, qparams: QParams) -> Codes:
        at = layer.nodes[0]
        scale = add_tensor(self.program, f"{layer.weight}_scale", qparams.scale, at, buffer=True)
        zero = add_tensor(self.program, f"{layer.weight}_zero_point", qparams.zero_point, at)
        return Codes(name, str(scale.target), str(zero.target), qparams, layer.axis)

    def _turned(self, layer: Layer, codes: Codes) -> Codes:
        """Codes of one scale, read along this layer's axis."""
        place = (codes.weight, layer.axis)
        if place not in self.along:
            size = self.program.get(codes.weight).shape[layer.axis]
            scale, zero = (part[:1].repeat(size) for part in (codes.qparams.scale, codes.qparams.zero_point))
            qparams = QParams(scale, zero, codes.qparams.format, Granularity(layer.axis))
            self.along[place] = self._scaled(layer, codes.weight, qparams)
        return self.along[place]

    def _store(self, name: str, codes: Tensor, before: fx.Node) -> str:
        """In place of the float weight, or beside it where a layer that stays float reads it too."""
        rewritten = {node for layer in self.layers for node in layer.nodes}
        readers = [user for node in self.program.graph.nodes if attribute(node) == name for user in node.users]
        if rewritten.issuperset(readers):
            set_tensor(self.program, name, codes)
            return name
        return str(add_tensor(self.program, f"{name}_int8", codes, before).target)

    def bias(self, layer: Layer, node: fx.Node, codes: Codes, input_scale: Tensor) -> None:
        """Replace one call's bias by an int32 one."""
        source = layer.bias(node)
        value = tensor_of(self.program, source)
        if source is None or value is None or value.shape != codes.qparams.scale.shape:
            return
        scale = codes.qparams.scale * input_scale
        counted = torch.round(value.detach().double() / scale.double()).clamp(-(2**31), 2**31 - 1).to(torch.int32)
        name = str(source.target)
        stored = add_tensor(self.program, f"{name}_int32", counted, node)
        scales = add_tensor(self.program, f"{name}_scale", scale, node, buffer=True)
        zeros = add_tensor(self.program, f"{name}_zero_point", torch.zeros_like(counted), node)
        bias = insert(self.program, ops.dequantize.default, (stored, scales, zeros, 0), like=node)
        node.replace_input_with(source, bias)

    def _dequantize(self, layer: Layer, node: fx.Node, codes: Codes) -> None:
        parts = (read(self.program, name, node) for name in (codes.weight, codes.scale, codes.zero_point))
        weight = insert(self.program, ops.dequantize.default, (*parts, layer.axis), like=node)
        position = layer.positions[1]
        node.args = (*node.args[:position], weight, *node.args[position + 1 :])

    def _embed(self, layer: Layer, node: fx.Node, codes: Codes) -> None:
        ids, dtype = layer.data(node), node.meta["val"].dtype
        table = read(self.program, codes.weight, node)
        column = insert(self.program, aten.unsqueeze.default, (read(self.program, codes.scale, node), 1), like=node)
        rows = insert(self.program, aten.embedding.default, (table, ids), like=node)
        scales = insert(self.program, aten.embedding.default, (column, ids), like=node)
        values = insert(self.program, aten.to.dtype, (rows, dtype), like=node)
        substitute(self.program, node, insert(self.program, aten.mul.Tensor, (values, scales), like=node))


def weight_codes(
    program: Program, layer: Layer, format: Format, input_scale: Tensor | None, solved: Rounded | None,
    *, even: bool = False,
) -> tuple[Tensor, QParams]:  # fmt: skip
    """Codes in the weight's shape, and symmetric scales, one an output channel; with `even` they are all the same.

    The scales are wide enough that the accumulator holds the bias in a normal unit: codes that were found on narrower
    ones are given up for the nearest.
    """
    weight: Tensor = program.get(layer.weight)
    qparams = choose_qparams(weight, format, Granularity(layer.axis))
    scale = qparams.scale if solved is None else solved.grid.scale[:, 0]
    wide = _wide(program, layer, scale, input_scale)
    if solved is None or even or not torch.equal(wide, scale):
        wide = torch.maximum(wide, qparams.scale)
        wide = wide.max().expand_as(wide).contiguous() if even else wide
        qparams = QParams(wide, qparams.zero_point, format, qparams.granularity)
        return quantize(weight, qparams), qparams
    codes = from_matrix(solved.codes, torch.empty(weight.shape, dtype=torch.int8), layer.kind)
    return codes, QParams(scale.clone(), qparams.zero_point, format, qparams.granularity)


def _wide(program: Program, layer: Layer, scale: Tensor, input_scale: Tensor | None) -> Tensor:
    if input_scale is None:
        return scale
    scale = scale.clamp(min=SMALLEST_UNIT / float(input_scale))
    for node in layer.nodes:
        bias = tensor_of(program, layer.bias(node))
        if bias is not None and bias.shape == scale.shape:
            scale = torch.maximum(scale, bias.detach().abs().float() / (input_scale * ACCUMULATOR))
    return scale


def fake_weight(weight: Tensor, layer: Layer, format: Format) -> Tensor:
    """The weight as its nearest codes will say it."""
    qparams = choose_qparams(weight, format, Granularity(layer.axis))
    return dequantize(quantize(weight, qparams), qparams)


def matrix_of(program: Program, layer: Layer) -> Tensor:
    """The weight of a layer that is one matrix product, or a table, as (outputs, inputs) or rows."""
    return to_matrix(program.get(layer.weight).detach(), layer.kind)[0]
