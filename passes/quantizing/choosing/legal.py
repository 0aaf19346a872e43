"""Each layer in the smallest format from the asked one up that the target runs for it, and why not in smaller ones.

    ternary → int2 → int4 → int8 → fp16 → fp32        fewer codes first; within a format of blocks the larger first
    int3 → int4 → …                                   int3 is stored in fields of four bits, so nothing falls back to it

A format is refused for a layer where the target has no kernel for it, or the layer no such form: the next one is
tried. int8 takes calibration data where the target's objective is latency (weights alone are unpacked in every run),
but for embeddings, of which only the rows that are read are converted. On such targets a layer that the latency model
predicts to be slower stays as it was, a convolution in the next format, unless `slower` allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.plan import Limits, activation_format_of, plan_integer
from compressor.passes.quantizing.choosing.slower import Times, predict_times, slow_integers
from compressor.passes.quantizing.choosing.support import refusal, slow_note
from compressor.passes.quantizing.codes.rounding import Rounding
from compressor.passes.quantizing.settings import format_of, is_block
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.ties import other_readers, tied_groups
from compressor.passes.quantizing.writing.blocks import block_settings, misfit
from compressor.passes.quantizing.writing.half import plan_half
from compressor.quant.blocks import BLOCK_FORMATS, BLOCK_SIZES, FINEST
from compressor.targets.target import Target

__all__ = ["LegalPlan", "formats_from", "plan_legal"]

ORDER = (*sorted(BLOCK_FORMATS, key=lambda name: BLOCK_FORMATS[name].high - BLOCK_FORMATS[name].low), "int8", "fp16")
NAMED = 3  # layers that a note names
_TWICE = "{min, 0, max} takes two ternary products a layer, twice the bytes and the time of rule=fitted"


def formats_from(format: str) -> tuple[str, ...]:
    """The format and those after it, each with less error: of those that take the same room, the finest."""
    later = ORDER[ORDER.index(format) + 1 :]
    return (format, *(name for name in later if name in FINEST or name not in BLOCK_FORMATS))


@dataclass
class LegalPlan:
    """Settings by site, and the reasons by layer, in the order in which formats were refused."""

    settings: dict[str, Setting] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Wanted:
    format: str
    block: int
    limits: Limits
    rounding: Callable[[str], Rounding]
    keep: Sequence[str]
    slower: bool


def plan_legal(
    program: Program, context: Context, format: str, block: int, limits: Limits, rounding: Callable[[str], Rounding],
    keep: Sequence[str] = (), *, slower: bool = False,
) -> LegalPlan:  # fmt: skip
    """Plan a format of blocks for a functional program, each layer that cannot have it in the next one that it can.

    `rounding` says how a format's codes are found. `slower`: layers take the format even where it is predicted to cost
    time. Raises InputError where calibration meets NaN or infinity.
    """
    wanted = _Wanted(format, block, limits, rounding, keep, slower)
    layers, skipped = find_layers(program, keep)
    plan = LegalPlan(skipped=skipped, refused={layer.name: {} for layer in layers})
    groups = tied_groups(program, layers)
    for group in groups:
        _take_blocks(program, group, context, wanted, plan)
    blocks = dict(plan.settings)
    convolutions = {layer.name for layer in layers if layer.kind == "conv"}
    _take_next(program, context, layers, wanted, plan, except_for=blocks.keys() - convolutions)
    for name, reason in ({} if slower else slow_integers(program, context, plan.settings, measured=False)).items():
        plan.refused[name]["int8"] = reason
        del plan.settings[name]
    instead = {name: setting for name, setting in plan.settings.items() if name not in blocks or name in convolutions}
    plan.settings = {**instead, **blocks}
    times = predict_times(program, context, plan.settings, instead)
    tied = [[layer.name for layer in group if layer.name in blocks] for group in groups]
    slow = {name for names in tied if times.slower(*names) for name in names}  # together: they read one set of codes
    if context.target.objective == "latency" and not slower:
        _leave(plan, slow, times, instead)
        left = (blocks.keys() - slow) & convolutions
        if left and slow and predict_times(program, context, plan.settings, instead).slower_in_all:
            _leave(plan, left, times, instead)  # among integer convolutions each change of format costs, too
        slow = set()
    plan.notes = _notes(context.target, plan, format, slow, times)
    told = {layer.name: _told(plan, layer.name, format) for layer in layers}
    plan.skipped += [Skip(name, text) for name, text in told.items() if text]
    return plan


def _take_blocks(program: Program, group: Sequence[Layer], context: Context, wanted: _Wanted, plan: LegalPlan) -> None:
    """The first format of blocks that all of a group of tied layers can have, in the largest blocks up to those asked
    for."""
    for format in (name for name in formats_from(wanted.format) if name in BLOCK_FORMATS):
        for block in sorted((size for size in BLOCK_SIZES if size <= wanted.block), reverse=True):
            reasons = {
                layer.name: refusal(context.target, format, layer.kind) or misfit(program, layer, format, block, group)
                for layer in group
            }
            if not any(reasons.values()):
                how = wanted.rounding(format)
                plan.settings |= {each.name: block_settings(context, each, format, block, how) for each in group}
                return
            first = next(name for name, reason in reasons.items() if reason)
            for name, reason in reasons.items():
                plan.refused[name].setdefault(format, reason or f"tied to {first}: {reasons[first]}")


def _take_next(
    program: Program, context: Context, layers: Sequence[Layer], wanted: _Wanted, plan: LegalPlan,
    except_for: Collection[str],
) -> None:  # fmt: skip
    """int8 for the rest, where the target runs it, and fp16 for what is left then; settings of blocks are replaced."""
    rest = [layer for layer in layers if layer.name not in except_for]
    plan.settings = {}
    static = wanted.limits.static and bool(context.calibration) and activation_format_of(context.target) is not None
    for format, refuse in (("int8", _refuse_int8(program, context, static)), ("fp16", _refuse_fp16(context.target))):
        takers = []
        for layer in rest:
            if reason := refuse(layer):
                plan.refused[layer.name][format] = reason
            else:
                takers.append(layer)
        found, skipped = _planned(program, context, format, wanted, static, {layer.name for layer in takers})
        known = {layer.name for layer in takers}
        for skip in skipped:
            if skip.site in known and format_of(found.get(skip.site, {"format": "fp32"})) != format:
                plan.refused[skip.site][format] = skip.reason
        layers_taken = {name for name in known if format_of(found.get(name, {"format": "fp32"})) == format}
        if layers_taken:
            plan.settings |= {s: v for s, v in found.items() if s not in known or s in layers_taken}
        rest = [layer for layer in rest if layer.name not in layers_taken]


def _planned(
    program: Program, context: Context, format: str, wanted: _Wanted, static: bool, only: set[str]
) -> tuple[Mapping[str, Setting], Sequence[Skip]]:
    if not only:
        return {}, ()
    if format == "fp16":
        half = plan_half(program, context, wanted.keep, only=only)
        return half.settings, half.skipped
    limits = replace(wanted.limits, static=static)
    integer = plan_integer(program, context, limits, wanted.keep, wanted.rounding("int8"), only=only)
    return integer.settings, integer.skipped


def _refuse_int8(program: Program, context: Context, static: bool) -> Callable[[Layer], str]:
    target = context.target
    preferred = target.providers[0].name if target.providers else target.runtime.name
    runs = target.computes_in("int8")

    def refuse(layer: Layer) -> str:
        if layer.kind == "embedding" and not static and other_readers(program, [layer]):
            return "its weight is tied to another layer, which needs it in float"
        if (
            target.objective == "size"
            or layer.kind == "embedding"
            or (layer.kind != "conv_transpose" and static and runs)
        ):
            return ""
        if not runs:
            return f"{preferred} of {target.name} runs no int8"
        return "int8 takes calibration data, and weights alone are slower" if not static else "it has no int8 kernel"

    return refuse


def _refuse_fp16(target: Target) -> Callable[[Layer], str]:
    return lambda layer: "" if target.computes_in("fp16") else f"{target.name} runs no fp16"


def _leave(plan: LegalPlan, names: Collection[str], times: Times, instead: Mapping[str, Setting]) -> None:
    """Layers that would be slower, as they were, or as their next format has them."""
    for name in names:
        format, other = format_of(plan.settings.pop(name)), instead.get(name, {"format": "fp32"})
        told = times.told(name, format_of(other))
        plan.refused[name][format] = f"{format} is predicted to be slower: {told}"
        if name in instead:
            plan.settings[name] = other


def _told(plan: LegalPlan, name: str, format: str) -> str:
    """Every different reason up to the format that was taken, in order; empty where that is what was asked for."""
    setting = plan.settings.get(name, {"format": "fp32"})
    taken = format_of(setting)
    tried = formats_from(format)
    tried = tried[: tried.index(taken) + 1] if taken in tried else tried
    reasons = list(dict.fromkeys(plan.refused[name][each] for each in tried if each in plan.refused[name]))
    if not reasons:
        return ""
    block = f" in blocks of {setting['block']}" if is_block(setting) else ""
    return f"{'stays float' if taken == 'fp32' else f'{taken}{block} in place of {format}'}: {'; '.join(reasons)}"


def _notes(target: Target, plan: LegalPlan, format: str, slow: set[str], times: Times) -> tuple[str, ...]:
    """What the user should know of time: measured kinds in numbers, else what is known of the board."""
    if slow:
        before, after = (sum(side[name] for name in slow) for side in (times.before, times.after))
        each = f"{before:.3g} ms to {after:.3g} ms{times.origin}"
        names = ", ".join(sorted(slow)[:NAMED]) + (f" and {len(slow) - NAMED} more" if len(slow) > NAMED else "")
        return (f"Slower in {format}, as predicted: {names}, {each} in all. There it buys size alone",)
    blocks = [setting for setting in plan.settings.values() if is_block(setting)]
    note = "" if times.calibrated or not blocks else slow_note(target, format)
    twice = _TWICE if any(setting.get("rule") == "minmax" for setting in blocks) else ""
    return tuple(filter(None, (note, twice)))
