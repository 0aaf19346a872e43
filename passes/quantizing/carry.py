"""Settings carried out on a functional program: trained where they are to be, else solved on data, and written.

    check ─ train | solve ─ int8 ─ fp16 ─ bf16 ─ blocks

Every site's setting is checked before anything is written. What training or the solvers found are codes, which the
writers store as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from compressor.errors import RecipeError
from compressor.graph.contract import Context, PassResult, Setting, Skip
from compressor.graph.edit import finish
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.plan import STATIC_KINDS, activation_format_of
from compressor.passes.quantizing.choosing.support import refusal
from compressor.passes.quantizing.codes.solving import solve
from compressor.passes.quantizing.settings import check_settings, format_of, is_block
from compressor.passes.quantizing.sites import find_glue, find_layers, node_names
from compressor.passes.quantizing.training import SITE, Lesson, Once, Taught, taught, taught_once
from compressor.passes.quantizing.writing.bfloat import apply_bfloat
from compressor.passes.quantizing.writing.blocks import apply_blocks
from compressor.passes.quantizing.writing.half import apply_half
from compressor.passes.quantizing.writing.integer import apply_integer
from compressor.passes.reading.samples import limited
from compressor.targets.target import Target

__all__ = ["carry_out", "check_target"]

_OTHER_TARGET = "The recipe was made for another target: compress for this one without it."


def carry_out(
    copy: Program, settings: Mapping[str, Setting], lesson: Lesson | None, context: Context, keep: tuple[str, ...],
    samples: int, once: Once | None = None,
) -> PassResult:  # fmt: skip
    """Rewrite an already copied, functional program; the result's settings do the same again.

    `once` is a training for several budgets that is over.

    Raises RecipeError for a setting that cannot be, and where one asks for data that there is not.
    """
    layers, _ = find_layers(copy)
    glue = find_glue(copy)
    static = {layer.name for layer in layers if layer.kind in STATIC_KINDS}
    for site, setting in settings.items():
        check_settings(site, setting, static=site in static, glue=site in glue)
    done = _learned(copy, settings, lesson, context, keep, once)
    if done.setting is not None:
        copy = done.program
        (layers, _), glue = find_layers(copy), find_glue(copy)
    rest = {site: setting for site, setting in settings.items() if site not in done.codes}
    solved = solve(copy, layers, rest, limited(copy, context.calibration, samples), context)
    codes = {**solved.codes, **done.codes}
    integer = {site: setting for site, setting in settings.items() if format_of(setting) == "int8"}
    other = {site: setting for site, setting in settings.items() if site not in integer}
    known = {layer.name for layer in layers} | set(node_names(copy).values())
    skipped = [Skip(site, "the model has no such layer") for site in settings if site not in known]
    changed = apply_integer(copy, layers, glue, integer, codes, done.pairs) if integer else []
    if any(format_of(setting) == "fp16" for setting in other.values()):
        changed += apply_half(copy, layers, other)
    changed += apply_bfloat(copy, layers, other)
    in_blocks = {site: each for site, each in other.items() if is_block(each)}
    changed += apply_blocks(copy, layers, in_blocks, codes)
    skipped += [*solved.skipped, *done.skipped]
    settings = {site: solved.settings.get(site, setting) for site, setting in settings.items()}
    settings |= {site: _trained(settings[site]) for site in done.codes}
    settings |= {} if done.setting is None else {SITE: done.setting}
    return PassResult(finish(copy), tuple(changed), tuple(skipped), settings, done.notes)


def _trained(setting: Setting) -> Setting:
    """Training found the codes and the bias, and no solver."""
    return {key: value for key, value in setting.items() if key not in ("solver", "bias")}


def _learned(
    copy: Program, settings: Mapping[str, Setting], lesson: Lesson | None, context: Context, keep: tuple[str, ...],
    once: Once | None,
) -> Taught:  # fmt: skip
    """What training makes of the settings."""
    if lesson is None:
        return Taught(copy)
    if not lesson.budgets:
        return taught(copy, settings, lesson, context, keep)
    if once is not None:
        return once.taken(settings)
    if not lesson.choices:  # the plan had a reason not to train
        return Taught(copy)
    found = taught_once(copy, lesson, context)
    return found.taken(settings) if isinstance(found, Once) else Taught(copy, skipped=(found,))


def check_target(sites: Mapping[str, Setting], target: Target) -> None:
    """Raises RecipeError where settings found for another target would run wrong or slowly on this one."""
    wanted = activation_format_of(target)
    for site, setting in sites.items():
        if is_block(setting) and (reason := refusal(target, format_of(setting))):
            raise RecipeError(reason, where=f"quantize: site {site!r}", way_out=_OTHER_TARGET)
        given = setting.get("activation")
        if given is not None and setting.get("format") == "int8" and given != (wanted.name if wanted else None):
            takes = f"computes with {wanted.name} activations" if wanted else "has no integer kernels"
            raise RecipeError(
                f"activation is {given!r}, and {target.name} {takes}",
                where=f"quantize: site {site!r}",
                way_out=_OTHER_TARGET,
            )
