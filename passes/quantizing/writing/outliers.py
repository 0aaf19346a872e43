"""Inputs with rare large values as two sums of one range each, so that both round well.

    x₁ = clamp(x, −T, T),   x₂ = r · (x − x₁),   r = T / (max|x| − T)
    W x + b  =  (W x₁ + b) + (W x₂) / r          exact in float; both inputs lie in ±T

One token's activations may be ten times all others' (BERT's first token behind the GELU): no scale a channel helps,
for the channels are those that the other tokens use. Steps for x₁ are then as fine as its own values ask for, and the
few large values have steps that are small beside themselves. It costs a second integer product, so it is done where
the first alone errs too much, with the extremes as its range too, and the target multiplies int8 more than twice as
fast as fp32. The weight is stored once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Context, Setting, Value
from compressor.graph.edit import add_tensor, insert
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.plan import Limits, activation_format_of, weight_format_of
from compressor.passes.quantizing.codes.weights import fake_weight
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.settings import OUTLIERS
from compressor.passes.quantizing.sites import Layer, find_layers, rank
from compressor.passes.reading.samples import limited, visit
from compressor.quant.calibrators import calibrator
from compressor.quant.formats import Format, choose_qparams, dequantize, quantize

__all__ = ["Outliers", "apply_ranges", "split_ranges"]

LIMIT, TIMES = OUTLIERS  # T and r in a layer's setting
aten = torch.ops.aten
SAMPLES, ROWS = 8, 2048  # that a layer is judged by
SHARES = (0.5, 0.25, 0.125, 0.0625)  # of the largest value, for T


@dataclass(frozen=True)
class Outliers:
    """T and r as settings say them, and the relative output errors of the layers that were split.

    `extremes` are layers that need no more than a range that cuts nothing off.
    """

    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    extremes: frozenset[str] = frozenset()


def split_ranges(program: Program, layers: Sequence[Layer], context: Context, limits: Limits) -> Outliers:
    """Rewrite, in a functional program, the layers whose static error is above the limit and falls below it so."""
    activation, target = activation_format_of(context.target), context.target
    if activation is None or not limits.static or not context.calibration:
        return Outliers()
    fast = target.objective == "latency" and target.rate("int8") > 2 * target.rate("fp32")
    fitting = [layer for layer in layers if layer.kind in ("linear", "matmul") and len(layer.nodes) == 1]
    fitting = [layer for layer in fitting if rank(layer.nodes[0]) > 2]
    settings: dict[str, dict[str, Value]] = {}
    found: dict[str, float] = {}
    extremes: set[str] = set()
    for layer, x in _inputs(program, fitting, limited(program, context.calibration, SAMPLES)):
        judge = _Judge(x, program.get(layer.weight).detach(), layer, (activation, weight_format_of(target)), limits)
        if judge.error(1.0, limits.calibrator) <= limits.max_error:
            continue
        if judge.error(1.0, "minmax") <= limits.max_error:
            extremes.add(layer.name)
            continue
        errors = {share: judge.error(share, limits.calibrator) for share in SHARES} if fast else {}
        best = min(errors, key=lambda share: errors[share], default=1.0)
        if errors.get(best, math.inf) <= limits.max_error:
            settings[layer.name] = {LIMIT: best * float(x.abs().max()), TIMES: best / (1 - best)}
            found[layer.name] = errors[best]
    apply_ranges(program, settings)
    return Outliers(settings, found, frozenset(extremes))


def apply_ranges(program: Program, settings: Mapping[str, Setting]) -> None:
    """Rewrite the layers whose setting holds T and r."""
    for layer in find_layers(program)[0]:
        setting = settings.get(layer.name, {})
        if LIMIT in setting:
            for node in layer.nodes:
                _split(program, layer, node, float(setting[LIMIT]), float(setting[TIMES]))


def _split(program: Program, layer: Layer, node: fx.Node, limit: float, times: float) -> None:
    x, following = layer.data(node), node.next
    near = insert(program, aten.clamp.default, (x, -limit, limit), like=node)
    rest = insert(program, aten.sub.Tensor, (x, near), like=node)
    far = insert(program, aten.mul.Tensor, (rest, times), like=node)
    weight = node.args[layer.positions[1]]
    node.replace_input_with(x, near)
    second = insert(program, node.target, (far, weight), like=node, before=following)  # type: ignore[arg-type]
    # a vector, for ONNX Runtime moves a single factor into the product, and computes that in floats then
    factors = torch.full((int(node.meta["val"].shape[-1]),), 1 / times)
    back = add_tensor(program, f"{layer.stem}outliers_factor", factors, following, buffer=True)
    scaled = insert(program, aten.mul.Tensor, (second, back), like=node, before=following)
    total = insert(program, aten.add.Tensor, (node, scaled), like=node, before=following)
    node.replace_all_uses_with(total, delete_user_cb=lambda user: user is not total)


class _Judge:
    """A layer's relative output error with T a share of its largest input; 1 for one range."""

    def __init__(self, x: Tensor, weight: Tensor, layer: Layer, formats: tuple[Format, Format], limits: Limits) -> None:
        self.x, self.activation, self.limits = x, formats[0], limits
        matrices = [weight, fake_weight(weight, layer, formats[1])]
        self.exact, self.fake = (matrix if layer.axis == 1 else matrix.T for matrix in matrices)
        self.wanted = x @ self.exact

    def error(self, share: float, kind: str) -> float:
        """`kind` is that of the calibrator."""
        if share == 1.0:
            return relative_error(self.wanted, self._rounded([self.x], kind)[0] @ self.fake)
        limit, times = share * float(self.x.abs().max()), share / (1 - share)
        near = self.x.clamp(-limit, limit)
        one, two = self._rounded([near, (self.x - near) * times], kind)
        return relative_error(self.wanted, one @ self.fake + two @ self.fake / times)

    def _rounded(self, parts: list[Tensor], kind: str) -> list[Tensor]:
        watcher = [calibrator(kind, self.activation, percentile=self.limits.percentile) for _ in parts]
        for each, part in zip(watcher, parts, strict=True):
            each.observe(part)
        found = [each.range() for each in watcher]
        span = min(low for low, _ in found), max(high for _, high in found)
        qparams = choose_qparams(span, self.activation)
        return [dequantize(quantize(part, qparams), qparams) for part in parts]


def _inputs(program: Program, layers: Sequence[Layer], batches: Sequence[Batch]) -> list[tuple[Layer, Tensor]]:
    """Rows that each layer reads."""
    owner = {node: layer for layer in layers for node in layer.nodes}
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}

    def look(node: fx.Node, args: tuple[Any, ...], _: Any) -> None:
        rows: Tensor = args[owner[node].positions[0]].detach().float().flatten(0, -2)
        found[owner[node].name].append(rows[: max(ROWS // len(batches), 1)])

    visit(program, batches, look, owner)
    return [(layer, torch.cat(found[layer.name])) for layer in layers if found[layer.name]]
