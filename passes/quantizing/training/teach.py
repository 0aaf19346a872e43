"""Quantization-aware training: a student with fake quantization learns the original's outputs within a budget.

    w ← w − η ∇ L(student(x; w + λ (ŵ − w)), original(x))        λ from 0 to 1 over the first part of the budget

What is judged on held-out data, and kept where it is best, is always the student at λ = 1: what the integers compute.
(Jacob et al., 2018, arXiv:1712.05877; Esser et al., 2020, LSQ, arXiv:1902.08153; Abdolrashidi et al., 2021, AQT,
arXiv:2105.03536; Ma et al., 2024, BitNet b1.58, arXiv:2402.17764.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.settings import format_of, is_block, is_integer
from compressor.passes.quantizing.training.lesson import SITE, Lesson
from compressor.passes.quantizing.training.norms import with_norms
from compressor.passes.quantizing.training.student import make_student
from compressor.passes.quantizing.writing.integer import Pair
from compressor.passes.reading.samples import limited
from compressor.passes.recover import Settings, parse_budget, recover
from compressor.passes.recover.lesson import cannot_learn, told, with_weights
from compressor.passes.recover.ranks import Ranks
from compressor.passes.recover.rates import plain_rate
from compressor.quant.solvers.rounding import Rounded

__all__ = ["Taught", "taught"]

# Of `recover`'s, by the fewest bits of a layer: as far as codes lie apart. Those of int8 are 16 times as near as those
# of int4, and rounding to them leaves less than larger steps do: at 0.3 trained networks' loss first rose tenfold.
RATES = {"int8": 0.03, "int4": 1.0, "int3": 1.0, "int2": 3.0, "ternary": 3.0}
GRADUAL = 0.3  # of the budget: while weights turn from floats into integers, and ranges settle
SAMPLES = 32  # that the size of a norm's input is measured on


@dataclass(frozen=True)
class Taught:
    """A float program with trained weights, its codes by layer, its pairs, why not, and what to tell the user.

    `setting` is the recipe's: what trains the same again.
    """

    program: Program
    codes: Mapping[str, Rounded] = field(default_factory=dict)
    pairs: Mapping[Pair, Pair] = field(default_factory=dict)
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    setting: Setting | None = None


def taught(
    program: Program, settings: Mapping[str, Setting], lesson: Lesson, context: Context, keep: tuple[str, ...] = ()
) -> Taught:
    """Train a functional program for these settings; itself, with the reason, where that cannot be or did not help."""
    if reason := _reason(settings, context):
        return Taught(program, skipped=(Skip(SITE, reason, whole=True),))
    ready, notes = program, []
    if lesson.norm:
        blocks = [site for site, setting in settings.items() if is_block(setting)]
        ready, normed = with_norms(program, blocks, limited(program, context.calibration, SAMPLES))
        notes += [f"a norm was put before {len(normed)} layers"] if normed else []
    student = make_student(ready, settings, lesson)
    assert context.teacher is not None
    rate, ramps = _rate(lesson, settings, program), {student.blend: GRADUAL}
    done = recover(
        student.program, context.teacher, context.training, parse_budget(lesson.train), losses=lesson.losses,
        settings=Settings(rate=rate, keep=keep, ramps=ramps), seed=context.seed,
        progress=context.progress, checkpoint=context.checkpoint, marks=lesson.marks, ranks=Ranks(),
        caller="quantize",
    )  # fmt: skip
    if not done.improved:
        text = f"{done.steps} steps did not lower the held-out loss below {done.before:.4g}: rounded without training"
        return Taught(program, skipped=(Skip(SITE, text, whole=True),))
    trained = with_weights(ready, done.program)
    setting = lesson.setting(done.losses, done.marks)
    said = (*notes, told(done, "the rounded network"), *done.notes)
    return Taught(trained, student.codes(done.program), student.pairs_of(done.program), notes=said, setting=setting)


def _reason(settings: Mapping[str, Setting], context: Context) -> str:
    """Why there is nothing to train, or nothing to train with; empty where there is."""
    nothing = not any(map(is_integer, settings.values()))
    return "not trained: nothing is quantized" if nothing else cannot_learn(context)


def _rate(lesson: Lesson, settings: Mapping[str, Setting], program: Program) -> float:
    """Fewer bits take larger steps: a weight has further to go to its next code."""
    formats = {format_of(setting) for setting in settings.values()} & set(RATES)
    return lesson.rate or plain_rate(program) * max(RATES[format] for format in formats)
