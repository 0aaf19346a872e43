"""The recovery engine: a program learns from the one that it was made of.

    w ← AdamW(w, ∇ L(student(x), teacher(x)))        x: data without labels; L: `objective`

What counts is the held-out loss of the outputs: the weights with the least are returned, and the ones given where none
is better. A run is continued from its checkpoint exactly where it was; the same seed gives the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.passes.recover.budget import Budget, parse_budget
from compressor.passes.recover.checkpoint import identity, read_checkpoint
from compressor.passes.recover.device import choose_place
from compressor.passes.recover.family import Family
from compressor.passes.recover.labels import check_labels
from compressor.passes.recover.objective import parse_losses
from compressor.passes.recover.pace import Pace
from compressor.passes.recover.penalty import Penalty
from compressor.passes.recover.ranks import Ranks, ranks_here
from compressor.passes.recover.session import Session
from compressor.passes.recover.stream import Stream, batch_inputs, held_out
from compressor.passes.recover.trainee import untrainable
from compressor.passes.recover.variants import Variants

__all__ = ["Recovered", "Settings", "recover"]

NONE_HELD_OUT = "judged on the training data: there are too few batches to hold some out"


@dataclass(frozen=True)
class Settings:
    """How to train; every default works without tuning.

    rate: peak learning rate; None: 1e-3 for convolutional networks, for others less the wider they are (3e-4 at 384),
        and up to four times as much the less the student agrees with its teacher at first.
    batch: samples a step; None, or where the program fixes its batch: as many as the given batches hold.
    temperature: softens class scores; None: 3 for classes, 1 for tokens.
    batch_norm: statistics while training: the "batch"'s (then estimated anew), or the stored ones ("frozen");
        "auto" is the batch's from 16 samples on.
    keep: globs of parameters to leave alone.   masks: for a parameter, what stays zero.
    ramps: stored numbers that rise from 0 to 1 over this share of the budget (fake quantization's blend). Nothing is
        taken for diverged before they are there, for it is judged as if they were.
    variants: which of the networks that the program can be learns in a step, and which are judged.
    family: smaller programs that learn with the student, for they are rows of its tensors.
    penalty: what is added to the loss for the parameters themselves; held-out losses hold it as at the budget's end.
    """

    rate: float | None = None
    batch: int | None = None
    temperature: float | None = None
    weight_decay: float = 0.0
    clip: float = 1.0
    batch_norm: Literal["auto", "batch", "frozen"] = "auto"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    keep: tuple[str, ...] = ()
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    ramps: Mapping[str, float] = field(default_factory=dict)
    variants: Variants | None = None
    family: Family | None = None
    penalty: Penalty | None = None


@dataclass(frozen=True)
class Recovered:
    """The recovered program and how it came about.

    `before` and `after`: held-out loss; `metric`: agreement with the teacher (best class, or cosine) before and after.
    `rate`: the peak learning rate. `history`: (step, training loss, held-out loss). `marks` replays a time budget's
    schedule. `notes` are for the user.
    """

    program: Program
    before: float
    after: float
    metric: tuple[float, float]
    rate: float
    steps: int
    best_step: int
    changed: tuple[str, ...]
    losses: str
    marks: str
    rollbacks: int
    history: tuple[tuple[int, float, float], ...]
    notes: tuple[str, ...]

    @property
    def improved(self) -> bool:
        return self.after < self.before


def recover(
    student: Program, teacher: Program, batches: Sequence[Batch], budget: Budget | str, *, losses: str = "auto",
    settings: Settings | None = None, seed: int = 0, progress: Progress | None = None, checkpoint: Path | None = None,
    held: Sequence[Batch] = (), marks: str = "", ranks: Ranks | None = None,
    clock: Callable[[], float] = time.monotonic, caller: str = "recover",
) -> Recovered:  # fmt: skip
    """Train `student` to compute what `teacher` does on these batches, within the budget.

    `batches` hold the student's inputs by name, and `labels` where a loss is to use them. `held` are batches to judge
    by; without them some of the training ones are held out. Neither program is written into. `checkpoint`: a file
    to continue from and to write to. `marks` (of an earlier result) replay a time budget without the clock. Under
    torch.distributed every process calls this with the same arguments; `ranks` says otherwise. Progress is told under
    the name of `caller`, the pass that trains.

    Raises RecipeError for a loss or budget that cannot be, InputError when the programs do not fit each other.
    """
    settings, budget = settings or Settings(), parse_budget(budget) if isinstance(budget, str) else budget
    if (reason := untrainable(student)) is not None:
        raise RecipeError(f"the program cannot be trained: {reason}", where="recover")
    if not len(batches):
        raise RecipeError("there are no batches to train on", where="recover")
    parts = parse_losses(losses)
    check_labels(student, teacher, parts, batches)
    ranks = ranks_here() if ranks is None else ranks
    inputs = batch_inputs(student)
    chosen, apart = (list(range(len(batches))), []) if held else held_out(batches, inputs)
    fixed = any(spec.shape and isinstance(spec.shape[0], int) for spec in student.inputs)
    stream = Stream(batches, chosen, inputs, None if fixed else settings.batch, seed)
    judged = list(held) or [batches[index] for index in apart]
    pace = Pace(budget, stream.per_epoch, clock, marks)
    key = identity(
        student.hash(), teacher.hash(), budget, losses, seed, marks, ranks.size, stream.size, stream.per_epoch,
        _described(settings), *(math.fsum(t.double().sum().item() for t in batch.values()) for batch in judged),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        session = Session(
            student, teacher, stream, judged, parts, settings, pace, ranks, progress or Progress(),
            choose_place(settings.device, settings.precision), checkpoint, key, caller,
        )  # fmt: skip
        session.start(read_checkpoint(checkpoint, key, ranks))
        session.train()
        result = session.result()
    return Recovered(**result, notes=() if set(apart).isdisjoint(chosen) else (NONE_HELD_OUT,))


def _described(settings: Settings) -> str:
    masks = sorted((name, int(mask.count_nonzero())) for name, mask in settings.masks.items())
    plain = {name: value for name, value in vars(settings).items() if name != "masks" and value != {}}
    return f"{plain} {masks}"
