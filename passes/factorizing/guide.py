"""Self-guided training: the thin layers learn while the dense ones still carry the result, which fade out.

    o = a · (W·x + b) + (1 − a) · (U·V·x + b′),   a = (1 + cos(π t / T)) / 2 over the first half, then W is dropped

W, U and V are trained together, to compute what the original does; what is judged on held-out data, and kept where it
is best, is always the network of thin layers alone. (Wei et al., 2024, Investigating Low-Rank Training in Transformer
Language Models, arXiv:2407.09835, who train from scratch; here U·V starts from the cut of W.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

import compressor.quant.fade  # noqa: F401  registers its operator
from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.edit import add_tensor, finish, insert, read
from compressor.graph.program import Program
from compressor.passes.factorizing.rewrite import rewrite
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.factorizing.solve import Made
from compressor.passes.recover import Settings, parse_budget, recover
from compressor.passes.recover import lesson as lessons
from compressor.passes.recover.lesson import SITE, cannot_learn, told, with_weights
from compressor.passes.recover.ranks import Ranks

__all__ = ["Guided", "Lesson", "guided", "make_student"]

FADING = 0.5  # of the budget: while the dense layers go
RAMP = "factorizing_ramp"


@dataclass(frozen=True)
class Lesson(lessons.Lesson):
    """How `factorize` trains."""

    where: ClassVar[str] = "factorize"


@dataclass(frozen=True)
class Guided:
    """The factorized program, trained where that helped; why not; what to tell the user; and the recipe's setting."""

    program: Program
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    setting: Setting | None = None


def guided(
    program: Program, thin: Program, found: Sequence[tuple[Site, Made]], lesson: Lesson, context: Context,
    keep: tuple[str, ...] = (),
) -> Guided:  # fmt: skip
    """`thin`, which is `program` (functional) with what was found in place of its sites, with trained weights."""
    reason = cannot_learn(context) if found else "not trained: nothing is factorized"
    if reason or context.teacher is None:
        return Guided(thin, (Skip(SITE, reason, whole=True),), (reason,))
    student = make_student(program, found)
    done = recover(
        student, context.teacher, context.training, parse_budget(lesson.train), losses=lesson.losses,
        settings=Settings(rate=lesson.rate, keep=keep, ramps={RAMP: FADING}), seed=context.seed,
        progress=context.progress, checkpoint=context.checkpoint, marks=lesson.marks, ranks=Ranks(),
        caller="factorize",
    )  # fmt: skip
    setting = lesson.setting(done.losses, done.marks)
    if not done.improved:
        text = f"{done.steps} steps did not lower the held-out loss below {done.before:.4g}: the cuts stay as they were"
        return Guided(thin, (Skip(SITE, text),))
    return Guided(with_weights(thin, done.program), notes=(told(done, "the thin layers"), *done.notes), setting=setting)


def make_student(program: Program, found: Sequence[tuple[Site, Made]]) -> Program:
    """A functional program whose sites compute both, the dense layers faded by the stored number `RAMP`."""
    copy = program.copy()
    sites = {site.name: site for site in find_sites(copy)[0]}
    ramp = str(add_tensor(copy, RAMP, torch.zeros(()), next(iter(copy.nodes())), buffer=True).target)

    def join(dense: fx.Node, thin: fx.Node) -> fx.Node:
        after = dense.next
        args = dense, thin, read(copy, ramp, after), False
        return insert(copy, torch.ops.compressor.fade.default, args, like=dense, before=after)

    for site, one in found:
        rewrite(copy, sites[site.name], one.parts, one.bias, join)
    return finish(copy)
