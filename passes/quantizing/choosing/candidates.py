"""Every format that each layer can have on the target: the settings, and the bytes that they store.

    fp32 · fp16 where the preferred provider runs it · int8 (static where it is calibrated, else the weights alone) ·
    int4, int3, int2, ternary in blocks of each size asked for, where the layer and the runtime have such a product

Layers that share memory take a format together, and go by the first one's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.plan import IntegerPlan, Limits, plan_integer
from compressor.passes.quantizing.choosing.support import refusal
from compressor.passes.quantizing.codes.rounding import Rounding
from compressor.passes.quantizing.settings import block_of, format_of, is_block, is_static
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.ties import tied_groups
from compressor.passes.quantizing.writing.blocks import block_settings, misfit
from compressor.passes.quantizing.writing.half import plan_half
from compressor.quant.blocks import BLOCK_FORMATS, block_bytes
from compressor.quant.formats import FORMATS, Granularity, bits_per_weight
from compressor.targets.target import Target

__all__ = ["Candidate", "Candidates", "find_candidates", "stored_bytes"]

FLOAT: Setting = {"format": "fp32"}
WEIGHTS: Setting = {"format": "int8", "weights": "int8"}


@dataclass(frozen=True)
class Candidate:
    """One format for a layer and those tied to it: each one's setting, and the bytes of the weight that they share."""

    layer: str
    settings: Mapping[str, Setting]
    bytes: int

    @property
    def setting(self) -> Setting:
        """The first layer's."""
        return self.settings[self.layer]

    @property
    def format(self) -> str:
        return format_of(self.setting)

    @property
    def label(self) -> str:
        """The format as a table says it: int4/32 in blocks of 32, int8 static."""
        block = f"/{block_of(self.setting)}" if is_block(self.setting) else ""
        return f"{self.format}{block}{' static' if is_static(self.setting) else ''}"


@dataclass(frozen=True)
class Candidates:
    """Tied layers together, in order of first use, and by the first one's name what they can have, fp32 first.

    `integer` is what int8 alone would be.
    """

    groups: list[list[Layer]]
    integer: IntegerPlan
    options: dict[str, list[Candidate]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)

    @property
    def layers(self) -> list[Layer]:
        return [layer for group in self.groups for layer in group]

    def narrow(self) -> list[list[Layer]]:
        """The groups that can have fewer than eight bits and are more than a table of rows to look up."""
        return [
            group
            for group in self.groups
            if any(layer.kind != "embedding" for layer in group)
            and any(is_block(each.setting) for each in self.options[group[0].name])
        ]

    def only(self, wanted: Callable[[Candidate], bool]) -> Candidates:
        """Without those that are not wanted; fp32 is always there."""
        left = {
            name: [each for each in options if each.format == "fp32" or wanted(each)]
            for name, options in self.options.items()
        }
        return replace(self, options=left)


def find_candidates(
    program: Program, context: Context, limits: Limits, blocks: Sequence[int], rounding: Callable[[str], Rounding],
    keep: Sequence[str] = (),
) -> Candidates:  # fmt: skip
    """The candidates of a functional program, with blocks of these sizes, codes to be found as `rounding` says.

    Raises InputError where calibration meets NaN or infinity.
    """
    integer = plan_integer(program, context, limits, keep, rounding("int8"))
    groups = tied_groups(program, integer.layers)
    found = Candidates(groups, integer, skipped=list(integer.skipped))
    half = plan_half(program, context, keep).settings if context.target.computes_in("fp16") else {}
    for group in groups:
        name = group[0].name
        every: list[dict[str, Setting]] = [{layer.name: FLOAT for layer in group}]
        if all(format_of(half.get(layer.name, FLOAT)) == "fp16" for layer in group):
            every.append({layer.name: half[layer.name] for layer in group})
        every.append(_integer_settings(integer, group, limits, context.target, rounding("int8")))
        every.extend(_block_settings(program, group, context, blocks, rounding))
        found.options[name] = [Candidate(name, each, stored_bytes(program, group[0], each[name])) for each in every]
    return found


def stored_bytes(program: Program, layer: Layer, setting: Setting) -> int:
    """Bytes of the layer's weight with its scales in this setting."""
    weight = program.get(layer.weight)
    if is_block(setting):
        rows = weight.shape[layer.axis]
        return block_bytes(rows, weight.numel() // rows, BLOCK_FORMATS[format_of(setting)], block_of(setting))
    bits = bits_per_weight(weight.shape, FORMATS[format_of(setting)], Granularity(layer.axis))
    return int(weight.numel() * bits / 8)


def _integer_settings(
    plan: IntegerPlan, group: Sequence[Layer], limits: Limits, target: Target, rounding: Rounding
) -> dict[str, Setting]:
    """Static where the layer is calibrated, else its weights alone, in codes that all of the group can share.

    Where the objective is size, a static layer whose own error is too large has integer weights alone; where it is
    latency, those would only be slower, and what static costs is measured at the outputs.
    """
    found: dict[str, Setting] = {}
    for layer in group:
        static = plan.static.get(layer.name)
        bad = target.objective == "size" and plan.damage.static.get(layer.name, 0.0) > limits.max_error
        how = {} if len(group) > 1 else rounding.setting("int8")
        found[layer.name] = {**WEIGHTS, **how} if static is None or bad else {**static, **how}
    weights = min(str(setting["weights"]) for setting in found.values())
    return {name: {**setting, "weights": weights} for name, setting in found.items()}


def _block_settings(
    program: Program,
    group: Sequence[Layer],
    context: Context,
    blocks: Sequence[int],
    rounding: Callable[[str], Rounding],
) -> list[dict[str, Setting]]:
    return [
        {layer.name: block_settings(context, layer, format, block, rounding(format)) for layer in group}
        for format in BLOCK_FORMATS
        for block in blocks
        if not any(
            refusal(context.target, format, layer.kind) or misfit(program, layer, format, block, group)
            for layer in group
        )
    ]
