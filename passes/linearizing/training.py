"""Activations that fade out while the network learns to do without them, through the recovery engine.

    y = (1 − r)·act(v) + r·v        r from 0 to 1 over the first half of the budget; judged at r = 1 all along

The original is the teacher; what is kept is the state that computes it best without the activations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.graph import edit
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.removal import Blend, blended, settled
from compressor.passes.recover import Recovered, Settings, parse_budget, recover
from compressor.passes.recover.ranks import Ranks

__all__ = ["Lesson", "Trained", "fade"]

FADING = 0.5  # of the budget
RAMP = "linearize_ramp"


@dataclass(frozen=True)
class Lesson:
    """How to train: `recover`'s budget, losses and peak rate, and the marks that replay a time budget."""

    budget: str
    losses: str = "auto"
    rate: float | None = None
    marks: str = ""


@dataclass(frozen=True)
class Trained:
    """The program without the activations, and what the engine says of the training."""

    program: Program
    done: Recovered


@dataclass(frozen=True)
class _AtTheEnd:
    """What is judged is the network without the activations, whatever is trained by then."""

    def at(self, step: int) -> Mapping[str, Tensor]:
        return {}

    def judged(self) -> Sequence[Mapping[str, Tensor]]:
        return [{RAMP: torch.ones(())}]


def fade(
    program: Program, nodes: Collection[str], context: Context, lesson: Lesson, keep: Sequence[str] = ()
) -> Trained:
    """Train a program without in-place operators until these activations are gone."""
    copy = edit.begin(program)
    bench = Bench(copy)
    going = [node for node in copy.graph.nodes if node.name in nodes]
    first = next(node for node in copy.graph.nodes if node.op == "call_function")
    ramp = edit.add_tensor(copy, RAMP, torch.zeros(()), first, buffer=True)
    blends: list[Blend] = [blended(bench, node, ramp) for node in going]
    student = edit.finish(copy)
    done = recover(
        student, context.teacher or program, context.training, parse_budget(lesson.budget), losses=lesson.losses,
        settings=Settings(rate=lesson.rate, ramps={RAMP: FADING}, variants=_AtTheEnd(), keep=tuple(keep)),
        seed=context.seed, progress=context.progress, checkpoint=context.checkpoint, marks=lesson.marks, ranks=Ranks(),
        caller="linearize",
    )  # fmt: skip
    return Trained(settled(done.program, blends), done)
