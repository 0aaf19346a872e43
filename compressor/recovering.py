"""Where `--recover` goes in a pass list, and the teacher that `--teacher` names.

    prune=0.5,fold,int8 --recover 5min    →  prune=0.5,recover=5min,fold,int8
    fold,int8 --teacher big.pt            →  recover=3epochs,fold,int8

The whole budget goes after the last structural pass: quantized weights are integers here, which cannot be trained. A
plan (`planning.py`) shares it with the pass that makes bits, which trains them before they are rounded.
`recover` in the pass list itself takes over, and `--recover none` asks for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import CompressError, InputError
from compressor.passes import find_pass
from compressor.passlist import PassSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compressor.graph.program import Program

__all__ = [
    "AFTER_BITS", "NONE", "QUANTIZE", "RECOVER", "load_teacher", "split_recovery", "taught", "trained_as_rounded",
    "trains", "with_recovery",
]  # fmt: skip

RECOVER, SPARSIFY, QUANTIZE, NONE = "recover", "sparsify", "quantize", "none"
AFTER_BITS = 0.25  # of a plan's recovery, that comes after bits
WITH_TEACHER = "3epochs"  # where --teacher is given and --recover is not


def with_recovery(
    specs: Sequence[PassSpec], recover: str | None, *, teacher: bool, has_data: bool = True
) -> list[PassSpec]:
    """The passes with `recover` in its place. Raises RecipeError for what is no budget, InputError without data."""
    from compressor.passes.recover import parse_budget

    if recover is not None and recover != NONE:
        parse_budget(recover, "--recover")
    asked = next((s for s in specs if s.name == QUANTIZE and s.options.get("train") not in (None, NONE)), None)
    if asked is not None and not has_data:
        raise _nothing_to_learn_from(f"--passes {asked.name}: train={asked.options['train']}")
    budget = recover or (WITH_TEACHER if teacher else None)
    if budget in (None, NONE) or any(spec.name == RECOVER for spec in specs):
        return list(specs)
    if not has_data:
        raise _nothing_to_learn_from("--recover" if recover else "--teacher")
    structural = [index for index, spec in enumerate(specs) if find_pass(spec.name).structural]
    place = structural[-1] + 1 if structural else 0
    options = {"budget": budget} | ({"zeros": "keep"} if any(s.name == SPARSIFY for s in specs[:place]) else {})
    return [*specs[:place], PassSpec(RECOVER, options), *specs[place:]]


def split_recovery(budget: str, *, cut: bool, bits: bool) -> tuple[str, str]:
    """What of a plan's budget comes after structure, and what after bits, whose weights are trained as they will be
    rounded: both of it, or all of it after the one that there is. Raises RecipeError for what is no budget."""
    from compressor.passes.recover import parse_budget

    if budget == NONE or not (cut or bits):
        return NONE, NONE
    if not bits:
        return budget, NONE
    if not cut:
        return NONE, budget
    whole = parse_budget(budget, "--recover")
    parts = (whole.amount * (1 - AFTER_BITS), whole.amount * AFTER_BITS)
    if whole.unit == "steps":
        parts = (max(round(parts[0]), 1), max(round(parts[1]), 1))
    first, second = (f"{part:g}{'s' if whole.unit == 'seconds' else whole.unit}" for part in parts)
    return first, second


def trained_as_rounded(spec: PassSpec, budget: str) -> PassSpec:
    """A pass that makes bits, with what its site for training says."""
    if spec.name != QUANTIZE or budget == NONE:
        return spec
    from compressor.passes.recover.lesson import SITE

    return replace(spec, sites={**spec.sites, SITE: {"train": budget}})


def _nothing_to_learn_from(where: str) -> InputError:
    return InputError("there is no data to train on", where=where, way_out="Add --data: unlabelled inputs are enough.")


def trains(specs: Sequence[PassSpec]) -> bool:
    """Whether any of the passes needs training data."""
    return any(spec.build().learns() for spec in specs)


def load_teacher(teacher: str | Path | nn.Module, student: Program, *, trust: bool) -> Program:
    """The teacher, captured with the student's example inputs and checked against its outputs.

    Raises what loading and capture raise, and InputError where inputs or outputs do not fit each other.
    """
    from torch import nn

    from compressor.graph.kv_cache import without_past
    from compressor.load import Loaded, load_model
    from compressor.passes.recover import check_fit, fed

    if isinstance(teacher, nn.Module):
        loaded = Loaded(name=type(teacher).__name__, kind="nn.Module", module=teacher)
    else:
        loaded = load_model(Path(teacher), trust=trust)
    whole = {spec.name: tensor for spec, tensor in zip(student.inputs, student.example, strict=True)}
    named = without_past(student.inputs, whole)
    program = _captured(loaded, named, synthetic=student.synthetic)
    check_fit(student, program)
    example = fed(student, program, named)
    return replace(program, example=tuple(example[spec.name] for spec in program.inputs), synthetic=student.synthetic)


def taught(teacher: Program, student: Program, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the teacher says to a batch of the student's, under the student's names where names do not tell."""
    from compressor.graph.kv_cache import answers
    from compressor.passes.recover import fed

    results = teacher.run(fed(student, teacher, batch))
    judged = answers(student.outputs)
    if all(spec.name in results for spec in judged):
        return results
    return {spec.name: value for spec, value in zip(judged, results.values(), strict=False)}


def _captured(loaded: Any, named: Mapping[str, Tensor], *, synthetic: bool) -> Program:
    """Captured with inputs by name where it takes these names, else by position."""
    from compressor.binding import bind
    from compressor.load import to_program

    if loaded.program is not None:
        return to_program(loaded, synthetic=synthetic).program
    args: Sequence[Any] = tuple(named.values())
    kwargs: dict[str, Any] = {}
    if loaded.module is not None:
        try:
            args, kwargs = bind(loaded.module, named)
        except InputError:
            kwargs = {}
    try:
        return to_program(loaded, args, kwargs, synthetic=synthetic).program
    except CompressError as error:
        raise InputError(
            f"does not take the student's inputs ({', '.join(named)}): {error.what}", where="--teacher",
            way_out="Both are fed the same data: export the teacher with the student's inputs.",
        ) from error  # fmt: skip
