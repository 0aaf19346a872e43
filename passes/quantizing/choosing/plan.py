"""Which sites become int8, and how: the settings, each with the damage measured there.

A layer is *static* (weights and activations integer) where there is calibration data and the target has integer
kernels, else *weight-only*. A static layer whose output is further than `max_error` from its float output
(‖y − ŷ‖ / ‖y‖ on calibration data) falls back, for outlier activations do not fit eight bits: to weight-only where
the target's objective is size, else to float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from torch import Tensor, fx

from compressor.errors import InputError
from compressor.graph.contract import Batch, Context, Option, Setting, Skip
from compressor.graph.functional import mutated
from compressor.graph.program import Program
from compressor.passes.quantizing.calibrate import observe
from compressor.passes.quantizing.codes.rounding import NEAREST, Rounding
from compressor.passes.quantizing.damage import Damage, measure_damage
from compressor.passes.quantizing.settings import WISH, is_range
from compressor.passes.quantizing.sites import Layer, find_glue, find_layers, integer_glue, tail
from compressor.passes.quantizing.ties import tied_groups
from compressor.passes.reading.samples import limited
from compressor.quant.calibrators import calibrator
from compressor.quant.formats import INT7, INT8, INT8_AFFINE, UINT8, Format, Granularity, bits_per_weight, ranges
from compressor.targets.target import Target

__all__ = ["STATIC_KINDS", "IntegerPlan", "Limits", "activation_format_of", "plan_integer", "weight_format_of"]

STATIC_KINDS = ("conv", "linear", "matmul")
FEW = 256  # weights below this many elements save less than their scales and the extra nodes cost


@dataclass(frozen=True)
class Limits:
    """How to calibrate, and what to tolerate; `judged` are errors of layers that are known already.

    The inputs of the layers called `extremes` are calibrated by their extremes, whatever the calibrator.
    """

    static: bool
    calibrator: str
    percentile: float
    samples: int
    max_error: float
    judged: Mapping[str, float] = field(default_factory=dict)
    extremes: frozenset[str] = frozenset()


@dataclass
class IntegerPlan:
    """Settings by site (layers and glue), and both kinds' damage and settings for every layer that was considered."""

    layers: list[Layer]
    glue: dict[str, fx.Node]
    settings: dict[str, Setting] = field(default_factory=dict)
    static: dict[str, Setting] = field(default_factory=dict)
    damage: Damage = field(default_factory=Damage)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def options(self, program: Program, rounding: Rounding) -> list[Option]:
        """Each layer left alone, with integer weights, and with integer activations, too, where there are ranges."""
        found: list[Option] = []
        for layer in self.layers:
            weight = program.get(layer.weight)
            small = int(weight.numel() * bits_per_weight(weight.shape, INT8, Granularity(layer.axis)) / 8)
            weights: Setting = {"format": "int8", "weights": "int8", **rounding.setting("int8")}
            found.append(Option(layer.name, {"format": "fp32"}, weight.numel() * weight.element_size(), damage=0.0))
            found.append(
                Option(layer.name, weights, small, damage=self.damage.weight_only[layer.name], level="int8 weights")
            )
            if layer.name in self.static:
                damage = self.damage.static[layer.name]
                found.append(Option(layer.name, self.static[layer.name], small, damage=damage, level="int8", wish=WISH))
        return found


def plan_integer(
    program: Program, context: Context, limits: Limits, keep: Sequence[str] = (), rounding: Rounding = NEAREST,
    only: Collection[str] | None = None,
) -> IntegerPlan:  # fmt: skip
    """Plan int8 for a functional program, for the layers called `only` alone where they are given.

    Raises InputError where calibration meets NaN or infinity.
    """
    layers, skipped = find_layers(program, keep)
    layers = [layer for layer in layers if only is None or layer.name in only]
    plan = IntegerPlan([], find_glue(program, keep), skipped=skipped)
    for layer in layers:
        reason = _unfit(program, layer)
        if reason:
            plan.skipped.append(Skip(layer.name, reason))
        else:
            plan.layers.append(layer)
    activation = activation_format_of(context.target)
    reason = "" if activation else f"{context.target.name} has no integer kernels"
    if limits.static and not context.calibration:
        reason = "there is no calibration data"
    if limits.static and reason:
        plan.skipped.append(Skip("activations", f"activations stay float: {reason}", whole=True))
    batches = limited(program, context.calibration, limits.samples)
    if limits.static and not reason and activation is not None:
        formats = activation, weight_format_of(context.target)
        _calibrate(program, plan, context.progress.over(batches, "calibrating"), limits, formats)
    plan.damage = measure_damage(program, plan.layers, plan.static, batches)
    _choose(plan, limits, context.target)
    _agree_on_tied(program, plan)
    _say_how(plan, rounding)
    return plan


def activation_format_of(target: Target) -> Format | None:
    """What the target's integer kernels take. TensorRT knows no zero points; other signed kernels do."""
    if target.activations == "uint8":
        return UINT8
    if target.activations == "int8":
        provider = next(p.name for p in target.providers if p.activations)
        return INT8 if provider == "TensorrtExecutionProvider" else INT8_AFFINE
    return None


def weight_format_of(target: Target) -> Format:
    """Eight bits, or seven where the target's kernels add two products of bytes in 16 bits, which saturate."""
    return INT7 if target.saturates else INT8


def _unfit(program: Program, layer: Layer) -> str:
    weight: Tensor = program.get(layer.weight)
    if layer.kind in ("embedding", "conv_transpose") and weight.numel() < FEW:
        return f"only {weight.numel()} weights: the scales would cost more than is saved"
    try:
        ranges(weight)
    except InputError as error:
        return error.what
    return ""


def _calibrate(
    program: Program, plan: IntegerPlan, batches: Iterable[Batch], limits: Limits, formats: tuple[Format, Format]
) -> None:
    """Settings with ranges for every layer that can be static, and for glue; `formats` of activations, weights."""
    activation, weights = formats
    moving = mutated(program)
    static = [layer for layer in plan.layers if layer.kind in STATIC_KINDS and not _touches(layer, moving)]
    inputs = {layer.name: [layer.data(node) for node in layer.nodes] for layer in static}
    outputs = {layer.name: [tail(node).node for node in layer.nodes] for layer in static if layer.kind == "conv"}
    fixed = {name: node for name, node in plan.glue.items() if not {node, tail(node).node} & moving}
    plan.glue = glue = integer_glue(program, fixed, chain(*inputs.values()), chain(*outputs.values()))
    outputs |= {name: [tail(node).node] for name, node in glue.items()}
    nodes = {node for group in (*inputs.values(), *outputs.values()) for node in group}
    extreme = {node for name in limits.extremes for node in inputs.get(name, ())}
    watched = {
        node: calibrator(
            "minmax" if node in extreme else limits.calibrator, activation, percentile=limits.percentile
        )
        for node in nodes
    }  # fmt: skip
    observe(program, batches, watched)
    found = {node: watcher.range() for node, watcher in watched.items()}
    for name in (*inputs, *glue):
        wide = [found[n] for n in (*inputs.get(name, ()), *outputs.get(name, ())) if not is_range(*found[n])]
        if wide:
            text = f"activations stay float: they reach from {wide[0][0]:.0e} to {wide[0][1]:.0e}"
            plan.skipped.append(Skip(name, text))
            continue
        setting: dict[str, str | float] = {"format": "int8", "activation": activation.name}
        if name in inputs:
            setting |= {"weights": weights.name, **_union("low", "high", [found[n] for n in inputs[name]])}
        if name in outputs:
            setting |= _union("out_low", "out_high", [found[n] for n in outputs[name]])
        plan.static[name] = setting


def _union(low: str, high: str, found: Sequence[tuple[float, float]]) -> dict[str, float]:
    return {low: min(bounds[0] for bounds in found), high: max(bounds[1] for bounds in found)}


def _touches(layer: Layer, moving: set[fx.Node]) -> bool:
    return any({layer.data(node), node, tail(node).node} & moving for node in layer.nodes)


def _choose(plan: IntegerPlan, limits: Limits, target: Target) -> None:
    for layer in plan.layers:
        weights_alone: Setting = {"format": "int8", "weights": "int8"}
        setting = plan.static.get(layer.name, weights_alone)
        error = limits.judged.get(layer.name, plan.damage.static.get(layer.name, 0.0))
        if "activation" in setting and error > limits.max_error:
            fast = target.objective == "latency"  # weights alone are unpacked in every run: small, slower than float
            text = f"would add {error:.1%} error here, above {limits.max_error:.1%}"
            text = f"stays float: integer activations {text}" if fast else f"activations stay float: they {text}"
            plan.skipped.append(Skip(layer.name, text))
            setting = {"format": "fp32"} if fast else weights_alone
        plan.settings[layer.name] = setting
    if any("activation" in setting for setting in plan.settings.values()):
        plan.settings |= {name: plan.static[name] for name in plan.glue if name in plan.static}


def _agree_on_tied(program: Program, plan: IntegerPlan) -> None:
    """Layers that share memory share codes: integer if one of them is, in the narrowest format among them."""
    for group in tied_groups(program, plan.layers):
        names = [layer.name for layer in group]
        formats = [str(plan.settings[name].get("weights", "")) for name in names]
        if len(set(formats)) > 1:
            shared: Setting = {"format": "int8", "weights": min(filter(None, formats))}
            plan.settings |= {name: {**plan.settings[name], **shared} for name in names}


def _say_how(plan: IntegerPlan, rounding: Rounding) -> None:
    """Put what the layers' codes are found by into their settings."""
    said = rounding.setting("int8")
    for layer in plan.layers:
        for settings in (plan.settings, plan.static):
            if settings.get(layer.name, {}).get("format") == "int8":
                settings[layer.name] = {**settings[layer.name], **said}
