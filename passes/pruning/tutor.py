"""What a network learns while units leave it: the original's outputs, whose loss depends on what they hold.

    L(f(x), t(x) + ε)        ε ~ N(0, σ²), σ relative to the outputs' own spread

With ε > 0 the gradient is nonzero even where student and original still agree, so that what leaves first is not chosen
blindly (SlimSAM, Chen et al., 2023, arXiv:2312.05284). The loss by kind of output is the recovery engine's `output`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compressor.errors import RecipeError
from compressor.graph.contract import Batch
from compressor.passes.pruning.job import Job
from compressor.passes.recover.device import Place, choose_place
from compressor.passes.recover.plan import Seen, make_plan
from compressor.passes.recover.stream import Stream, batch_inputs
from compressor.passes.recover.terms import build_term
from compressor.passes.recover.trainee import Trainee, untrainable

__all__ = ["STATISTICS", "Tutor"]

STATISTICS = 16  # samples from which on a batch norm uses the batch's own statistics


class Tutor:
    """The batches and the loss of one training. Raises RecipeError where there is nothing to train on, or with."""

    def __init__(self, job: Job, how: str, *, noise: float = 0.0) -> None:
        student = job.program
        if not job.lessons:
            raise RecipeError(
                f"how={how} trains along the way and needs data", where="prune",
                way_out="Add --data, or choose how=one-shot or how=iterative.",
            )  # fmt: skip
        if (reason := untrainable(student)) is not None:
            raise RecipeError(f"how={how}: the program cannot be trained: {reason}", where="prune")
        self.noise, self.seed = noise, job.context.seed
        self.place: Place = choose_place(precision="fp32")
        lessons = job.lessons
        self.stream = Stream(lessons, range(len(lessons)), batch_inputs(student), None, self.seed)
        self.plan = make_plan(student, job.teacher, self.stream.first(1)[0])
        self.term = build_term("output", self.plan, lambda: [Seen((), ())])
        self.teacher = Trainee(job.teacher, self.place, frozen=True)

    @property
    def batch_norm(self) -> bool:
        """Whether batches are large enough for statistics of their own."""
        return self.stream.size >= STATISTICS

    def batches(self, step: int) -> Iterator[Batch]:
        """The batches from a step on, without end."""
        return self.stream.at(step)

    def loss(self, outputs: Sequence[Tensor], batch: Batch, step: int) -> Tensor:
        """How far these outputs are from the original's on the same batch."""
        with torch.no_grad():
            theirs = self.teacher.plain(*self.teacher.flat(batch, self.plan.feeds))
            theirs = tuple(self._disturbed(value, step) for value in theirs)
            mask = None if self.plan.mask is None else batch[self.plan.mask].to(self.place.device) != 0
        result: Tensor = self.term(Seen(tuple(outputs), theirs, mask=mask)).mean()
        return result

    def _disturbed(self, value: Tensor, step: int) -> Tensor:
        if not self.noise or not value.is_floating_point():
            return value
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise = torch.randn(value.shape, generator=generator).to(value)
        return value + self.noise * value.std() * noise
