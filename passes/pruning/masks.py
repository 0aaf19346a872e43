"""Learned masks to an exact shape: every unit gets a mask, every dimension an offset that keeps its share of zeros.

    min over w, α      L(w · z(α + c))          c_j so that  s_j(α + c_j) = t_j  at every step

s_j is the expected share of zero masks in dimension j (`concrete`), t_j the share that is to go, rising linearly over
the first half of the steps. In the end the units with the lowest α go, exactly as many as the allocation asks for, and
the other masks are folded into the weights. (Sheared LLaMA, Xia et al., 2023, arXiv:2310.06694, holds the shares with
multipliers that ascend λ_j·(s_j − t_j) + φ_j·(s_j − t_j)²; over a few hundred steps, not thousands, those wind up and
overshoot. The offset is found by bisection.)

A mask scales what reads its unit; where a unit is read by no weights, or is summed over by a product of two
activations (queries and keys), it scales what makes it, too. What differs: the loss is the distance to the original's
outputs; α starts from the ranks of `score`; and batches are not weighted by domain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, PassResult, Skip
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.edit import attribute
from compressor.graph.program import Program
from compressor.graph.work import COMPUTE, kind_of
from compressor.passes.pruning.allocate import Allocation
from compressor.passes.pruning.job import NOTHING, Job
from compressor.passes.pruning.masked import Masked, normalized_over
from compressor.passes.pruning.resume import Resume
from compressor.passes.pruning.rows import Place
from compressor.passes.pruning.tutor import Tutor
from compressor.passes.recover import recalibrate
from compressor.passes.recover.concrete import below, drawn, median

__all__ = ["Lesson", "masked_axes", "masks"]

RATE = 3e-4
MASK_RATE = 0.25  # of log α
RAMP = 0.5  # of the steps, in which units go
SPREAD = 30.0  # of the first log α within a dimension, after the score: what is far from the limit is hardly random
WARMUP = 10
BISECTIONS = 40


def masks(job: Job) -> PassResult:
    """Learn, drop, fold, cut, recover."""
    tutor = Tutor(job, "masks")
    ranked = job.chooser.ranked(job.dimensions, job.batches, job.context)
    kept = [Skip(name, "you asked to keep it") for name in ranked.kept]
    if not ranked.ladders:
        return job.result(job.program, [*kept, NOTHING])
    allocation, useless = job.chooser.allocation(ranked, job.target, job.context)
    if not any(allocation.rungs):
        return job.result(job.program, [*kept, *useless])
    resume = job.resume("masks")
    _, program = resume.load() or (0, None)
    if program is None:
        lesson = Lesson(job, tutor, allocation)
        lesson.run(resume)
        program = recalibrate(lesson.sliced(), job.lessons)
        resume.save(1, program)
    return job.result(job.recover(program, "last"), [*kept, *useless])


class Lesson:
    """The training of the masks of the dimensions that an allocation cuts."""

    def __init__(self, job: Job, tutor: Tutor, allocation: Allocation) -> None:
        self.job, self.tutor = job, tutor
        pairs = zip(allocation.ladders, allocation.rungs, strict=True)
        self.parts = [(one.order, one.rungs[rung]) for one, rung in pairs if rung]
        device = tutor.place.device
        units = [unit for order, _ in self.parts for unit in order]
        only = masked_axes(allocation.dimensions, units)
        self.masked = Masked(
            allocation.dimensions, units, tutor.place, batch_norm=tutor.batch_norm, keep=job.chooser.keep, only=only
        )
        self.parameters = self.masked.trainee.parameters
        self.part = torch.tensor([n for n, (order, _) in enumerate(self.parts) for _ in order], device=device)
        self.sizes = torch.tensor([len(order) for order, _ in self.parts], device=device)
        self.shares = torch.tensor([going / len(order) for order, going in self.parts], device=device)
        first = torch.cat([_ranks(len(order)) for order, _ in self.parts]).to(device)  # `order` ascends by score
        self.log_alpha = (SPREAD * first).requires_grad_()
        self.generator = torch.Generator().manual_seed(job.context.seed)
        self.weights = torch.optim.AdamW(self.parameters.values(), lr=job.rate or RATE, weight_decay=0.0)
        self.shape = torch.optim.Adam([self.log_alpha], lr=MASK_RATE, betas=(0.9, 0.95))

    def expected(self, log_alpha: Tensor) -> Tensor:
        """The share of zero masks that each dimension expects."""
        found = torch.zeros(len(self.parts), device=self.part.device)
        return found.index_add(0, self.part, below(log_alpha)) / self.sizes

    def held(self, wanted: Tensor) -> Tensor:
        """log α with the offsets at which each dimension expects this share of zeros; differentiable but for those."""
        own = self.log_alpha.detach()
        high = own.abs().max().expand(len(self.parts)) + 2 * SPREAD
        low = -high
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            closed = self.expected(own + middle[self.part]) > wanted
            low, high = torch.where(closed, middle, low), torch.where(closed, high, middle)
        return self.log_alpha + high[self.part]

    def run(self, resume: Resume) -> None:
        start = self._restore(resume.kept())
        batches = self.tutor.batches(start)
        for step in self.job.context.progress.over(range(start, self.job.steps), "learning masks"):
            loss = self._step(next(batches), step)
            if (step + 1) % max(1, self.job.steps // 20) == 0:
                resume.keep(self._state(step + 1))
                self.job.context.progress.figures("prune", (step + 1) / self.job.steps, {"loss": loss})

    def _state(self, step: int) -> dict[str, Any]:
        return {
            "step": step, "tensors": self.masked.trainee.state(), "log_alpha": self.log_alpha.detach(),
            "weights": self.weights.state_dict(), "shape": self.shape.state_dict(),
            "generator": self.generator.get_state(),
        }  # fmt: skip

    def _restore(self, state: Mapping[str, Any] | None) -> int:
        """The step to go on from."""
        if state is None:
            return 0
        self.masked.trainee.load(state["tensors"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        self.weights.load_state_dict(state["weights"])
        self.shape.load_state_dict(state["shape"])
        self.generator.set_state(state["generator"])
        return int(state["step"])

    def chosen(self) -> list[int]:
        """The units that go: of each dimension those with the lowest α."""
        values, gone, start = self.log_alpha.tolist(), [], 0
        for order, going in self.parts:
            own = values[start : start + len(order)]
            gone += [order[i] for i in sorted(range(len(order)), key=lambda i: (own[i], i))[:going]]
            start += len(order)
        return gone

    def sliced(self) -> Program:
        """The cut program, the masks of what stays folded into its weights."""
        with torch.no_grad():
            folded = self.masked.weights(self.final())
        return self.masked.sliced(sorted(self.chosen()), folded)

    def final(self) -> Tensor:
        """Masks of what is cut: zero for what goes, and one where a norm runs over what stays: that folds nowhere."""
        gone, normed = set(self.chosen()), normalized_over(self.masked.dimensions)
        z: Tensor = median(self.held(self.shares)).detach()
        units = enumerate(self.masked.units)
        fixed = {place: float(unit not in gone) for place, unit in units if unit in gone or unit in normed}
        z[list(fixed)] = torch.tensor(list(fixed.values()), device=z.device)
        return z

    def _step(self, batch: Batch, step: int) -> float:
        fraction = step / self.job.steps
        for group in self.weights.param_groups:
            cosine = (1 + math.cos(math.pi * fraction)) / 2
            group["lr"] = (self.job.rate or RATE) * min(1.0, (step + 1) / WARMUP) * cosine
        for optimizer in (self.weights, self.shape):
            optimizer.zero_grad(set_to_none=True)
        z = drawn(self.held(self.shares * min(1.0, fraction / RAMP)), self.generator)
        loss = self.tutor.loss(self.masked.outputs(batch, z), batch, step)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in (self.weights, self.shape):
            optimizer.step()
        return float(loss.detach())


def masked_axes(dimensions: Dimensions, units: Sequence[int]) -> list[Place]:
    """The tensors' axes that masks scale: those that read units, and of units that need more, all."""
    walk = dimensions.walk
    reading = {place for node in dimensions.program.nodes() if (place := _reads(node)) is not None}
    touched = {unit: {(s.tensor, s.axis) for s in dimensions.slices[unit]} for unit in units}
    hidden: set[int] = set()
    for node in walk.contracted:
        inside = {a for s in node.all_input_nodes for v in walk.of(s) if v is not None for a in dimensions.rows(v)}
        outside = {atom for v in walk.of(node) if v is not None for atom in dimensions.rows(v)}
        hidden |= inside - outside
    more = [places for unit, places in touched.items() if unit in hidden or not places & reading]
    chosen = reading.union(*more) if more else reading
    return sorted(place for place in chosen if any(place in places for places in touched.values()))


def _reads(node: fx.Node) -> Place | None:
    """The tensor and axis that a layer with stored weights sums over."""
    name = attribute(node.args[1]) if kind_of(node) in COMPUTE and len(node.args) > 1 else None
    if name is None:
        return None
    if kind_of(node) == "matmul":
        return name, node.args[1].meta["val"].dim() - 2  # type: ignore[union-attr]
    return name, 0 if kind_of(node) == "conv_transpose" else 1


def _ranks(count: int) -> Tensor:
    """From −1 to 1, ascending."""
    return torch.linspace(-1, 1, count)
