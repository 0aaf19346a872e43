"""What quantization does to each layer's output: ‖y − ŷ‖ / ‖y‖, the reciprocal root of the signal-to-noise ratio.

Measured by running a layer's operator twice on the float program's own activations, so one site's error does not
leak into the next. Without data it is the weight's relative error, which equals it for white inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Setting
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.weights import fake_weight
from compressor.passes.quantizing.settings import OUTPUT
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.swap import swapped
from compressor.passes.reading.samples import limited, visit
from compressor.quant.formats import INT8

__all__ = ["Damage", "measure_damage", "relative_error"]

SAMPLES = 4  # a ratio of sums over every position of every channel: few samples suffice


@dataclass
class Damage:
    """Relative output error by layer: weights and activations integer, and weights alone."""

    static: dict[str, float] = field(default_factory=dict)
    weight_only: dict[str, float] = field(default_factory=dict)


def measure_damage(
    program: Program, layers: Sequence[Layer], static: Mapping[str, Setting], batches: Sequence[Batch]
) -> Damage:
    """Damage at each layer with its static setting (where it has one) and with int8 weights alone."""
    damage = Damage()
    for layer in layers:
        weight: Tensor = program.get(layer.weight).detach()
        damage.weight_only[layer.name] = relative_error(weight, fake_weight(weight, layer, INT8))
    if batches and static:
        damage.static = _static(program, [layer for layer in layers if layer.name in static], static, batches)
    return damage


def relative_error(exact: Tensor, approximate: Tensor) -> float:
    """‖exact − approximate‖ / ‖exact‖; 0 where both vanish."""
    error, size = (float(torch.linalg.vector_norm(value.double())) for value in (exact - approximate, exact))
    return error / size if size else (0.0 if error == 0.0 else math.inf)


def _static(
    program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting], batches: Sequence[Batch]
) -> dict[str, float]:
    calls = {layer.name: swapped(program, layer, _inner(settings[layer.name])) for layer in layers}
    instead = {node: calls[layer.name][node] for layer in layers for node in layer.nodes}
    sums = {node: [0.0, 0.0] for layer in layers for node in layer.nodes}

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        error = instead[node](*args, **node.kwargs) - value
        sums[node][0] += float(error.square_().sum(dtype=torch.float64))
        sums[node][1] += float(value.square().sum(dtype=torch.float64))

    visit(program, limited(program, batches, SAMPLES), look, instead)
    found = {node: math.sqrt(error / size) if size else 0.0 for node, (error, size) in sums.items()}
    return {layer.name: max(found[node] for node in layer.nodes) for layer in layers}  # its worst call


def _inner(setting: Setting) -> Setting:
    """Without the range of the output: what is measured here is the layer's own arithmetic."""
    return {key: value for key, value in setting.items() if key not in OUTPUT}
