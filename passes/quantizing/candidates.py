"""Every format that each layer can have on the target: the settings, and the bytes that they store.

fp32 · fp16 where a provider runs it · int8 (static where it is calibrated, else the weights alone) · int4, int2,
ternary in blocks of each size asked for, where the layer and the runtime have such a product
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from compressor.graph.contract import Context, Option, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.blocks import misfit
from compressor.passes.quantizing.half import plan_half
from compressor.passes.quantizing.plan import IntegerPlan, Limits, plan_integer
from compressor.passes.quantizing.settings import block_of, format_of, is_block
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.support import block_setting, refusal
from compressor.quant.blocks import BLOCK_FORMATS, block_bytes
from compressor.quant.formats import FORMATS, Granularity, bits_per_weight
from compressor.targets.target import Target

__all__ = ["Candidates", "find_candidates", "stored_bytes"]

FLOAT: Setting = {"format": "fp32"}


@dataclass
class Candidates:
    """Layers in order of first use with their options, fp32 first; what int8 alone would be; what was declined."""

    layers: list[Layer]
    integer: IntegerPlan
    options: dict[str, list[Option]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)

    def narrow(self) -> list[Layer]:
        """The layers that can have fewer than eight bits."""
        return [layer for layer in self.layers if any(is_block(each.setting) for each in self.options[layer.name])]

    def without(self, format: str) -> Candidates:
        """The same with one format less."""
        left = {
            name: [each for each in options if format_of(each.setting) != format]
            for name, options in self.options.items()
        }
        return replace(self, options=left)


def find_candidates(
    program: Program, context: Context, limits: Limits, blocks: Sequence[int], keep: Sequence[str] = ()
) -> Candidates:
    """The candidates of a functional program, with blocks of these sizes.

    Raises InputError where calibration meets NaN or infinity.
    """
    integer = plan_integer(program, context, limits, keep)
    found = Candidates(integer.layers, integer, skipped=list(integer.skipped))
    half = plan_half(program, context, keep).settings if _runs_half(context.target) else {}
    for layer in found.layers:
        settings = [FLOAT]
        if half.get(layer.name, FLOAT) != FLOAT:
            settings.append(half[layer.name])
        settings.append(_integer_setting(integer, layer.name, limits))
        settings.extend(_block_settings(program, layer, context.target, blocks))
        found.options[layer.name] = [
            Option(layer.name, setting, stored_bytes(program, layer, setting)) for setting in settings
        ]
    return found


def stored_bytes(program: Program, layer: Layer, setting: Setting) -> int:
    """Bytes of the layer's weight with its scales in this setting."""
    weight = program.get(layer.weight)
    if is_block(setting):
        rows, width = weight.shape if layer.axis == 0 else reversed(weight.shape)
        return block_bytes(rows, width, BLOCK_FORMATS[format_of(setting)], block_of(setting))
    bits = bits_per_weight(weight.shape, FORMATS[format_of(setting)], Granularity(layer.axis))
    return int(weight.numel() * bits / 8)


def _integer_setting(plan: IntegerPlan, name: str, limits: Limits) -> Setting:
    """Static where the layer's own error is tolerable, else its weights alone."""
    static = plan.static.get(name)
    if static is None or plan.damage.static.get(name, 0.0) > limits.max_error:
        return {"format": "int8", "weights": "int8"}
    return static


def _block_settings(program: Program, layer: Layer, target: Target, blocks: Sequence[int]) -> list[Setting]:
    return [
        block_setting(target, name, block)
        for name in BLOCK_FORMATS
        for block in blocks
        if not refusal(target, name) and not misfit(program, layer, name, block)
    ]


def _runs_half(target: Target) -> bool:
    return any("fp16" in provider.formats for provider in target.providers)
