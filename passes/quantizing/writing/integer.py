"""Static integer arithmetic as quantize–dequantize pairs around values, placed so that integer kernels chain.

    y = relu(conv(x, W) + b)   →   y = dq(q(relu(conv(dq(q(x)), dq(Wq)) + dq(bq))))

Every value has at most one pair, which all that read it share. Convolutions and glue need one on their output,
after the fused ReLU or clip: without it runtimes keep the float kernel. Linears do not (their integer kernels can
return floats), so their output is only quantized for the next layer's sake. After transparent operators the pair
is repeated with the same scale, and before a layer it stands in front of mere changes of layout: ONNX Runtime moves
pairs there by itself, but trips over signed ones on x86. Repeated pairs change nothing, and runtimes drop them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from compressor.graph.contract import Setting
from compressor.graph.edit import add_tensor, insert, read
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.weights import WeightWriter
from compressor.passes.quantizing.settings import INPUT, OUTPUT, activation_format, bounds, is_static, weight_format
from compressor.passes.quantizing.sites import Layer, glue_inputs, is_transparent, rank, source_of, tail
from compressor.quant.formats import Format, choose_qparams
from compressor.quant.solvers.rounding import Rounded

__all__ = ["Pair", "PairWriter", "apply_integer", "bias_in_integers", "insert_pairs", "plan_pairs"]

ops = torch.ops.compressor
_INSIDE = 1 - 2.0**-22  # keeps the largest code below a clip's bound in float32, so that the clip is seen as redundant


@dataclass(frozen=True)
class Pair:
    """One value's quantize–dequantize: its range, the format, and where scale and zero point are stored.

    `clipped`: the operator before it ends its values at a bound other than zero.
    """

    name: str
    low: float
    high: float
    format: Format
    clipped: bool = False

    def qparams(self) -> tuple[Tensor, Tensor]:
        chosen = choose_qparams((self.low, self.high), self.format)
        return chosen.scale, chosen.zero_point


NO_PAIRS: Mapping[Pair, Pair] = {}


def apply_integer(
    program: Program,
    layers: Sequence[Layer],
    glue: Mapping[str, fx.Node],
    settings: Mapping[str, Setting],
    solved: Mapping[str, Rounded] | None = None,
    learned: Mapping[Pair, Pair] = NO_PAIRS,
) -> list[str]:
    """Rewrite an already copied, functional program; the names of the weights that became integer.

    `solved` are codes found on data, by layer; the others are the nearest ones. `learned` are pairs as training left
    them.
    """
    every, layers = layers, [layer for layer in layers if layer.name in settings]
    planned = plan_pairs(program, layers, glue, settings)
    pairs = {node: learned.get(pair, pair) for node, pair in planned.items()}
    static = [layer for layer in layers if is_static(settings[layer.name])]
    scales = {node: pairs[layer.data(node)].qparams()[0] for layer in static for node in layer.nodes}
    integer = {node for layer in static for node in layer.nodes}
    insert_pairs(program, pairs, {node for layer in every for node in layer.nodes} - integer, PairWriter(program))
    writer = WeightWriter(program, layers, solved or {})
    for layer in layers:
        own = [scales[node] for node in layer.nodes if node in scales]
        codes = writer.weight(layer, weight_format(settings[layer.name]), min(own, default=None))
        for node in layer.nodes if own else ():
            if bias_in_integers(layer, node):
                writer.bias(layer, node, codes, scales[node])
    return [layer.weight for layer in layers]


def bias_in_integers(layer: Layer, node: fx.Node) -> bool:
    """Whether a static call's bias is counted in the unit of its accumulator; else it is added as a float."""
    return rank(node) == 2 or layer.kind == "conv"


def plan_pairs(
    program: Program, layers: Sequence[Layer], glue: Mapping[str, fx.Node], settings: Mapping[str, Setting]
) -> dict[fx.Node, Pair]:
    """Which values get a pair, in order of execution."""
    inputs: dict[fx.Node, Pair] = {}
    outputs: dict[fx.Node, tuple[Sequence[fx.Node], Pair]] = {}
    for layer in layers:
        if is_static(setting := settings[layer.name]):
            for node in layer.nodes:
                inputs.setdefault(source_of(layer.data(node)), _pair(f"{layer.stem}input", setting, INPUT))
                if OUTPUT[0] in setting:
                    outputs[tail(node).node] = ((), _output_pair(f"{layer.stem}output", node, setting))
    for name, node in glue.items():
        if name in settings:
            outputs[tail(node).node] = (glue_inputs(node), _output_pair(f"{name}.output", node, settings[name]))
    pairs: dict[fx.Node, Pair] = {}
    for node in program.graph.nodes:
        if is_transparent(node) and node.args[0] in pairs:
            pairs[node] = pairs[node.args[0]]
        elif node in outputs and all(source in pairs for source in outputs[node][0]):
            pairs[node] = outputs[node][1]
        elif node in inputs:
            pairs[node] = inputs[node]
    return pairs


def _pair(name: str, setting: Setting, keys: tuple[str, str]) -> Pair:
    low, high = bounds(setting, keys)
    return Pair(name, low, high, activation_format(setting))


def _output_pair(name: str, node: fx.Node, setting: Setting) -> Pair:
    pair, end = _pair(name, setting, OUTPUT), tail(node)
    low, high = max(pair.low, end.low), min(pair.high, end.high)
    if math.isfinite(end.high) and high == end.high:
        high *= _INSIDE
    if math.isfinite(end.low) and low == end.low:
        low *= _INSIDE
    clipped = math.isfinite(end.high) or (math.isfinite(end.low) and end.low != 0)
    return replace(pair, low=min(low, 0.0), high=max(high, 0.0), clipped=clipped)


def insert_pairs(
    program: Program, pairs: Mapping[fx.Node, Pair], floating: AbstractSet[fx.Node],
    write: Callable[[fx.Node, Pair, fx.Node], fx.Node],
) -> None:  # fmt: skip
    """All that read a value read what `write(value, pair, before)` makes of it, but for the layers whose activations
    stay float.

    Between two pairs ONNX Runtime would take those for integer ones, and round a float weight by itself.
    """
    for node, pair in pairs.items():
        users = [user for user in node.users if user not in floating]
        if users:
            value = write(node, pair, min(users))
            for user in users:
                user.replace_input_with(node, value)


class PairWriter:
    """Writes a quantize–dequantize pair behind a value; equal pairs share scale and zero point."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.stored: dict[Pair, tuple[str, str]] = {}
        self.taken: Counter[str] = Counter()  # calls of one layer may end in different clips, and so differ in range

    def __call__(self, node: fx.Node, pair: Pair, at: fx.Node) -> fx.Node:
        parts = self._parts(pair, at)
        codes, dtype = torch.iinfo(pair.format.dtype), pair.format.dtype
        source = node if node.op != "placeholder" else at
        args = (node, *parts, codes.min, codes.max, 0, dtype)
        q = insert(self.program, ops.quantize.default, args, like=source, before=at)
        return insert(self.program, ops.dequantize.default, (q, *parts, 0), like=source, before=at)

    def _parts(self, pair: Pair, at: fx.Node) -> tuple[fx.Node, fx.Node]:
        if pair in self.stored:
            scale_name, zero_name = self.stored[pair]
            return read(self.program, scale_name, at), read(self.program, zero_name, at)
        scale, zero_point = pair.qparams()
        self.taken[pair.name] += 1
        name = pair.name if self.taken[pair.name] == 1 else f"{pair.name}_{self.taken[pair.name]}"
        parts = (
            add_tensor(self.program, f"{name}_scale", scale, at, buffer=True),
            add_tensor(self.program, f"{name}_zero_point", zero_point, at),
        )
        self.stored[pair] = (str(parts[0].target), str(parts[1].target))
        return parts
