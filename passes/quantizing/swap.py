"""One layer in another format and all else as it was: what its calls compute then, without rewriting the graph.

    static int8    y = q̂(layer(q̂(x), Ŵ))        q̂ rounds to the codes of a range, on the output where it is quantized
    int8           y = layer(x, Ŵ)
    blocks         y = layer(x̂, Ŵ)               x̂ is x, or x in int8 by block as integer kernels round it
    fp16           y = half(layer(half(x), half(W)))

The same numbers as the rewritten program's with that site alone, but for the rounding of biases to int32, and for
others that read the layer's input, which go on reading the float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Setting
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.solving import is_searched, round_as
from compressor.passes.quantizing.codes.weights import fake_weight
from compressor.passes.quantizing.settings import (
    INPUT,
    OUTPUT,
    activation_format,
    block_of,
    bounds,
    format_of,
    is_block,
    is_static,
    weight_format,
)
from compressor.passes.quantizing.sites import Layer, tail
from compressor.passes.reading.matrix import from_matrix, to_matrix
from compressor.quant.blocks import round_by_block
from compressor.quant.formats import choose_qparams, dequantize, quantize

__all__ = ["rounded_weight", "swapped"]

Call = Callable[..., Any]
Rounding = Callable[[Tensor], Tensor]


def swapped(program: Program, layer: Layer, setting: Setting, weight: Tensor | None = None) -> Mapping[fx.Node, Call]:
    """What to call at each node that the layer in this setting changes: its own calls, and a fused ReLU or clip.

    `weight` is what it computes with, where rounding its own is not it.
    """
    weight = rounded_weight(program, layer, setting) if weight is None else weight
    given, result = _input_rounding(layer, setting), _output_rounding(setting)
    calls: dict[fx.Node, Call] = {}
    for node in layer.nodes:
        calls[node] = _layer_call(node, layer, weight, given)
        if result is not None:
            end = tail(node).node
            calls[end] = _then(calls.get(end, end.target), result)  # type: ignore[arg-type]
    return calls


def rounded_weight(program: Program, layer: Layer, setting: Setting) -> Tensor:
    """The layer's weight, in its own layout, as the setting will say it; without inputs, so gptq's are mse's."""
    weight: Tensor = program.get(layer.weight).detach()
    if is_block(setting) or is_searched(setting):
        return from_matrix(round_as(to_matrix(weight, layer.kind), setting, None).values, weight, layer.kind)
    if format_of(setting) == "fp16":
        return weight.half().float()
    return fake_weight(weight, layer, weight_format(setting)) if format_of(setting) == "int8" else weight


def _codes_of(setting: Setting, keys: tuple[str, str]) -> Rounding:
    """A value as the codes of its calibrated range will say it."""
    qparams = choose_qparams(bounds(setting, keys), activation_format(setting))
    return lambda value: dequantize(quantize(value, qparams), qparams)


def _input_rounding(layer: Layer, setting: Setting) -> Rounding | None:
    if is_static(setting):
        return _codes_of(setting, INPUT)
    if is_block(setting) and "activation" in setting:
        block, axis = block_of(setting), 1 if layer.kind == "conv" else -1  # channels
        return lambda value: round_by_block(value.movedim(axis, -1), block).movedim(-1, axis)
    return _half if format_of(setting) == "fp16" else None


def _output_rounding(setting: Setting) -> Rounding | None:
    if OUTPUT[0] in setting:
        return _codes_of(setting, OUTPUT)
    return _half if format_of(setting) == "fp16" else None


def _layer_call(node: fx.Node, layer: Layer, weight: Tensor, given: Rounding | None) -> Call:
    data, stored, _ = layer.positions
    target: Any = node.target

    def call(*args: Any, **kwargs: Any) -> Any:
        changed = list(args)
        changed[stored] = weight
        if given is not None and torch.is_floating_point(args[data]):
            changed[data] = given(args[data])
        return target(*changed, **kwargs)

    return call


def _then(call: Call, rounding: Rounding) -> Call:
    return lambda *args, **kwargs: rounding(call(*args, **kwargs))


def _half(value: Tensor) -> Tensor:
    return value.half().float()
