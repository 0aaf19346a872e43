"""Trains a network and its entries together, with recovery's engine: its budgets, checkpoints and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.entries import Entry
from compressor.graph.program import Program
from compressor.passes.nesting.lesson import NONE, SITE, Lesson
from compressor.passes.recover import Family, Settings, parse_budget, recover
from compressor.passes.recover.lesson import cannot_learn, told
from compressor.passes.recover.trainee import untrainable

__all__ = ["Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """The network as training left it, what changed, why it was not trained, and what does the same again."""

    program: Program
    setting: Setting
    changed: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()


def train(
    program: Program, entries: Sequence[Entry], others: Sequence[Entry], lesson: Lesson, keep: tuple[str, ...],
    context: Context,
) -> Trained:  # fmt: skip
    """`entries` are judged, `others` learn beside them. Where it does not help, the program is as it was."""
    teacher = context.teacher
    reason = _reason(program, lesson, context)
    if reason or lesson.train == NONE or teacher is None:
        skipped = (Skip(SITE, reason, whole=True),) if reason else ()
        return Trained(program, lesson.setting(lesson.losses, lesson.marks), skipped=skipped)
    family = Family((*entries, *others), len(entries), lesson.how, lesson.inplace, context.seed)
    done = recover(
        program, teacher, context.training, parse_budget(lesson.train), losses=lesson.losses,
        settings=Settings(rate=lesson.rate, keep=keep, family=family), seed=context.seed, progress=context.progress,
        checkpoint=context.checkpoint, marks=lesson.marks, caller=lesson.where,
    )  # fmt: skip
    setting = lesson.setting(done.losses, done.marks)
    if not done.improved:
        text = (
            f"{done.steps} steps did not lower the held-out loss below {done.before:.4g}: the weights stay as they were"
        )
        return Trained(program, setting, skipped=(Skip(SITE, text, whole=True),))
    return Trained(done.program, setting, done.changed, notes=(*done.notes, told(done, "all sizes, on average,")))


def _reason(program: Program, lesson: Lesson, context: Context) -> str:
    """Why nothing can be trained; empty where it can, or where none was asked for."""
    if lesson.train == NONE or (reason := cannot_learn(context)):
        return "" if lesson.train == NONE else reason
    return f"not trained: {untrainable(program)}" if untrainable(program) else ""
