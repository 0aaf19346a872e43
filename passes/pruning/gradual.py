"""Continuous pruning: train a little, drop the unit that is worth least, correct what read it, and so on.

    s(u) ← β·s(u) + (1 − β)·|Σ over u's slices  g·w|         every training step
    drop the rung with the least  Σ s(u) / cost saved        every `every` steps

(EfficientLLM, Xing et al., 2025, arXiv:2502.06663.) A rung is one unit, or as many as the target's width multiple asks
for. Its layers are corrected by second order and its weights stay zero; after every sixth of the cost the program is
cut, analysed and scored anew, so that training gets faster and analyses stay few. What differs: it learns the
original's outputs, not next tokens alone, and saliency starts from the score of `score`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compressor.graph.contract import Batch, PassResult, Skip
from compressor.graph.dimensions.groups import analyse
from compressor.graph.dimensions.removal import Removal
from compressor.passes.pruning.choose import Ranked
from compressor.passes.pruning.correct import Correction
from compressor.passes.pruning.job import NOTHING, Job
from compressor.passes.pruning.masked import Masked
from compressor.passes.pruning.tutor import Tutor
from compressor.passes.reading.samples import limited
from compressor.passes.recover import recalibrate

__all__ = ["Shrinking", "gradual"]

PHASE = 5 / 6  # of the MACs stay in a phase; then the program is cut
MEMORY = 0.9  # β
NOISE = 0.01
RATE = 3e-4
WARMUP = 10  # steps of each phase
CORRECTED = 32  # samples that corrections see


def gradual(job: Job) -> PassResult:
    """Phase after phase until the target is met; then recovery."""
    tutor = Tutor(job, "gradual", noise=NOISE)
    resume = job.resume("gradual")
    step, program = resume.load() or (0, job.program)
    skipped: list[Skip] = []
    while True:
        dimensions = job.dimensions if program is job.program else analyse(program)
        left = Removal(dimensions, ()).macs()
        if left <= job.target:
            break
        ranked = job.ranked(dimensions, comparable=True)
        skipped = [Skip(name, "you asked to keep it") for name in ranked.kept]
        phase = Shrinking(job, tutor, ranked, step)
        phase.run(max(job.target, left * PHASE))
        if not phase.gone:
            skipped.append(NOTHING)
            break
        program, step = recalibrate(phase.masked.sliced(phase.gone), job.lessons), phase.step
        resume.save(step, program)
    return job.result(job.recover(program, "last") if program is not job.program else program, skipped)


class Shrinking:
    """One phase: a program that trains and loses units. `gone` lists them in order, `step` counts from the start."""

    def __init__(self, job: Job, tutor: Tutor, ranked: Ranked, step: int) -> None:
        self.job, self.tutor, self.ranked, self.step, self.began = job, tutor, ranked, step, step
        units = [unit for one in ranked.ladders for unit in one.order]
        self.number = {unit: number for number, unit in enumerate(units)}
        self.masked = Masked(ranked.dimensions, units, tutor.place, batch_norm=tutor.batch_norm, keep=job.chooser.keep)
        self.correction = Correction(ranked.dimensions.program, self.masked.rows)
        self.parameters = self.masked.trainee.parameters
        self.optimizer = torch.optim.AdamW(self.parameters.values(), weight_decay=0.0)
        self.kept = torch.ones(len(units), device=tutor.place.device)
        self.saliency = torch.tensor([ranked.scores.get(unit, 0.0) for unit in units], device=tutor.place.device)
        self.rungs = [0] * len(ranked.ladders)
        self.saved: dict[int, float] = {}  # by dimension, what its next rung saved when last looked at
        self.gone: list[int] = []

    def run(self, goal: float) -> None:
        """Train and drop until at most `goal` MACs are left, or nothing more can go."""
        batches = self.tutor.batches(self.step)
        sample = limited(self.ranked.dimensions.program, self.job.batches, CORRECTED)
        left = Removal(self.ranked.dimensions, ()).macs()
        while left > goal:
            loss = 0.0
            for _ in range(self.job.every):
                loss = self._learn(next(batches))
            units = self.weakest()
            if not units:
                return
            if self.job.reconstruct and sample:
                self._correct(sample[0], units)
            self._drop(units)
            left = Removal(self.ranked.dimensions, self.gone).macs()
            share = left / self.job.macs
            done = min(1.0, (1 - share) / self.job.amount)
            self.job.context.progress.figures("prune", done, {"loss": loss, "MACs": share, "units": len(self.gone)})

    def weakest(self) -> Sequence[int]:
        """The units of the next rung with the least damage for what it saves; none where all are at their least.

        What a rung saves only shrinks as its neighbours shrink: the best by old figures that is still best is the best.
        """
        worth = self.saliency.tolist()
        spent, dropped = self._cost(()), set(self.gone)
        found: dict[int, tuple[float, list[int]]] = {}
        for place, one in enumerate(self.ranked.ladders):
            if self.rungs[place] + 1 < len(one.rungs):
                many = one.rungs[self.rungs[place] + 1] - one.rungs[self.rungs[place]]
                left = sorted((worth[self.number[unit]], unit) for unit in one.order if unit not in dropped)
                found[place] = (sum(value for value, _ in left[:many]), [unit for _, unit in left[:many]])
        fresh: set[int] = set()
        while found:
            for place in found.keys() - self.saved.keys():
                self.saved[place] = spent - self._cost(found[place][1])
                fresh.add(place)
            place = min(found, key=lambda at: (found[at][0] / max(self.saved[at], 1e-12), at))
            if place not in fresh:
                self.saved[place] = spent - self._cost(found[place][1])
                fresh.add(place)
            elif self.saved[place] > 1e-9 * spent:
                self.rungs[place] += 1
                return found[place][1]
            else:
                del found[place]  # it saves nothing
        return ()

    def _cost(self, more: Sequence[int]) -> float:
        return self.job.chooser.cost(Removal(self.ranked.dimensions, [*self.gone, *more]), self.job.context)

    def _learn(self, batch: Batch) -> float:
        """One step of training; every unit's saliency is told on the way."""
        for group in self.optimizer.param_groups:
            group["lr"] = (self.job.rate or RATE) * min(1.0, (self.step - self.began + 1) / WARMUP)
        self.optimizer.zero_grad(set_to_none=True)
        trainee = self.masked.trainee
        loss = self.tutor.loss(trainee.training(*trainee.flat(batch)), batch, self.step)
        torch.autograd.backward(loss)
        slopes = {n: p.grad * p.detach() for n, p in self.parameters.items() if p.grad is not None}
        self._remember(self.masked.rows.sums(slopes).abs())
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.masked.switch(self.kept)
        self.step += 1
        return float(loss.detach())

    def _remember(self, slopes: torch.Tensor) -> None:
        if self.step == self.began:  # the first score is of another loss: bring it to this one's size
            self.saliency *= slopes.mean() / self.saliency.mean().clamp_min(1e-30)
        self.saliency.lerp_(slopes, 1 - MEMORY)

    def _correct(self, batch: Batch, units: Sequence[int]) -> None:
        going = torch.zeros(len(self.kept), dtype=torch.bool, device=self.kept.device)
        going[[self.number[unit] for unit in units]] = True
        trainee = self.masked.trainee
        self.correction.apply(trainee.plain, trainee.flat(batch), going)

    def _drop(self, units: Sequence[int]) -> None:
        self.kept[[self.number[unit] for unit in units]] = 0.0
        self.gone.extend(units)
        self.masked.switch(self.kept)
