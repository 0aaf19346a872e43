"""Train once, and cut what came out zero: the dual half-space projected gradient over units.

    redundant(x) = ½·n(cos(−x, −g)) + ½·n(1 / mean |x|)           n: to 0 … 1 over all units
    x⁺ = x − η·(d + λ·x / ‖x‖)        in the most redundant units, which the allocation to the target picks
    x⁺ = 0                            where  ⟨x⁺, x⟩ < ε·‖x‖²,  ε = 0

x are all weights of a unit, g their gradients, d Adam's direction. λ is 10⁻²; where x·d < 0 it is 20 times
−x·d / ‖x‖, at most −‖d‖²·‖x‖ / (x·d) and 1000 times itself. (OTOv2, Chen et al., 2023, arXiv:2303.06862.) The cut is
exact: it is checked, and PassError raised where it is not.

What differs: a unit is what makes it and what reads it, so that any activation is allowed; λ is at least what brings
the unit to zero in time, and what is still left at the end is set to zero; the target is exact instead of a tolerance
above it. Widths that a norm runs over do not take part: zero there is not the same as gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compressor.errors import PassError
from compressor.graph.contract import PassResult, Skip
from compressor.graph.mode import set_mode
from compressor.graph.program import Program
from compressor.passes.pruning.choose import Ranked
from compressor.passes.pruning.job import NOTHING, Job
from compressor.passes.pruning.lessons import Pupil, backward, losses
from compressor.passes.pruning.masked import Masked, normalized_over
from compressor.passes.recover.device import choose_place

__all__ = ["HalfSpace", "dhspg", "redundancy"]

RATE = 1e-3
LAMBDA, AMPLIFY, CAP = 1e-2, 20.0, 1000.0  # for Adam
EPSILON = 0.0
START, AIM, END = 0.2, 0.55, 0.7  # of the steps: the penalty begins, should have done its work, and ends
WARMUP = 0.05
EXACT = 1e-5


def dhspg(job: Job) -> PassResult:
    """Train with the user's function, check that what is zero can go, cut it."""
    over = normalized_over(job.dimensions)
    names = {one.name for one in job.dimensions.dimensions if over.intersection(one.units)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.context.seed)
        training = HalfSpace(job, names)
        feed = losses(job.context.train, training.pupil)
        resume = job.resume("dhspg")
        start = training.restore(resume.kept())
        for step in job.context.progress.over(range(start, job.steps), "training"):
            training.step(feed, step)
            if (step + 1) % max(1, job.steps // 20) == 0:
                resume.keep(training.state(step + 1))
    norms = [Skip(name, "a norm runs over it, and zero there is not the same as gone") for name in sorted(names)]
    skipped = [*norms, *(Skip(name, "you asked to keep it") for name in training.kept)]
    if not training.gone:
        program = training.masked.trainee.finished(training.masked.trainee.state())
        return replace(job.result(program, [*skipped, NOTHING]), changed=tuple(program.tensors()))
    return job.result(training.exact(), skipped)


class HalfSpace:
    """The training. From a fifth of the steps on, `gone` are the units that it drives to zero."""

    def __init__(self, job: Job, left_out: set[str]) -> None:
        self.job, self.left_out = job, left_out
        dimensions = job.dimensions
        self.units = [u for one in dimensions.dimensions if one.name not in left_out for u in one.units]
        place = choose_place(precision="fp32")
        self.masked = Masked(dimensions, self.units, place, batch_norm=True, keep=job.chooser.keep)
        trainee = self.masked.trainee
        drawing = set_mode(replace(job.program, module=trainee.training), batch_norm=True, dropout=True)
        self.pupil = Pupil(job.program, drawing.module, trainee.plain)
        self.parameters = trainee.parameters
        self.optimizer = torch.optim.AdamW(self.parameters.values(), weight_decay=0.0)
        self.penalized = torch.zeros(len(self.units), dtype=torch.bool, device=place.device)
        self.alive = torch.ones(len(self.units), device=place.device)
        self.gone: list[int] = []
        self.kept: tuple[str, ...] = ()
        self.start, self.aim, self.end = (round(share * job.steps) for share in (START, AIM, END))

    def step(self, feed: Iterator[Tensor], number: int) -> None:
        """One loss, one update."""
        rate = self.rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = next(feed)
        backward(loss, self.parameters.values())
        old = {name: p.detach().clone() for name, p in self.parameters.items()}
        if number == self.start:
            self._choose(old)
        self.optimizer.step()
        if self.gone and number < self.end:
            self._project(old, rate, sum(map(self.rate, range(number, max(number + 1, self.aim)))))
        if self.gone and number >= self.end - 1:
            self._finish()
        if self.gone:
            self.masked.switch(self.alive)
        if (number + 1) % max(1, self.job.steps // 20) == 0:
            zero = float((self.alive == 0).sum() / max(1, len(self.gone)))
            figures = {"loss": float(loss.detach()), "units at zero": zero}
            self.job.context.progress.figures("prune", (number + 1) / self.job.steps, figures)

    def state(self, step: int) -> dict[str, Any]:
        """All that a continued training needs; the user's function begins a new epoch."""
        return {
            "step": step, "tensors": self.masked.trainee.state(), "optimizer": self.optimizer.state_dict(),
            "penalized": self.penalized, "alive": self.alive, "gone": self.gone, "kept": list(self.kept),
            "random": torch.get_rng_state(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any] | None) -> int:
        """The step to go on from."""
        if state is None:
            return 0
        self.masked.trainee.load(state["tensors"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.penalized, self.alive = (state[name].to(self.alive.device) for name in ("penalized", "alive"))
        self.gone, self.kept = list(state["gone"]), tuple(state["kept"])
        torch.set_rng_state(state["random"])
        if self.gone:
            self.masked.switch(self.alive)
        return int(state["step"])

    def _finish(self) -> None:
        left = int((self.penalized & (self.alive > 0)).sum())
        self.alive[self.penalized] = 0.0
        if left:
            say = f"prune: {len(self.gone) - left} of {len(self.gone)} units went to zero, the others were set to zero"
            self.job.context.progress.say(say)

    def rate(self, number: int) -> float:
        """A linear rise, then half a cosine."""
        fraction = number / self.job.steps
        return (self.job.rate or RATE) * min(1.0, (fraction + 1e-3) / WARMUP) * (1 + math.cos(math.pi * fraction)) / 2

    def exact(self) -> Program:
        """The cut program. Raises PassError where it does not compute what the trained one does."""
        trainee = self.masked.trainee
        whole, smaller = trainee.finished(trainee.state()), self.masked.sliced(self.gone)
        batch = self.job.batches[0] if self.job.batches else None
        wanted, got = whole.run(batch), smaller.run(batch)
        for name, value in wanted.items():
            if value.is_floating_point():
                error = float((got[name] - value).abs().max()) / (float(value.abs().max()) or 1.0)
                if not error <= EXACT:
                    raise PassError(
                        f"output {name!r} changes by {error:.1e} when units that are zero are cut off",
                        where="prune: how=dhspg", way_out="Exclude layers with --keep, or choose another how.",
                    )  # fmt: skip
        return smaller

    def _choose(self, weights: Mapping[str, Tensor]) -> None:
        """Penalize what the allocation to the target takes, the most redundant units of each dimension first."""
        slopes = {n: p.grad for n, p in self.parameters.items() if p.grad is not None}
        worth = (1 - redundancy(self.masked, weights, slopes)).tolist()
        scores = dict(zip(self.units, worth, strict=True))
        ranked: Ranked = self.job.chooser.laddered(self.job.dimensions, scores, self.job.context)
        allowed = [one for one in ranked.ladders if one.dimension.name not in self.left_out]
        self.kept = ranked.kept
        if not allowed:
            return
        allocation, _ = self.job.chooser.allocation(replace(ranked, ladders=allowed), self.job.target, self.job.context)
        gone = allocation.removal().units
        self.gone = [unit for unit in self.units if unit in gone]
        self.penalized = torch.tensor([unit in gone for unit in self.units], device=self.alive.device)

    def _project(self, old: Mapping[str, Tensor], rate: float, ahead: float) -> None:
        """The penalty on top of Adam's step, then the half-space test. `ahead` is the sum of rates in which
        units should reach zero."""
        rows = self.masked.rows
        with torch.no_grad():
            went = {name: (old[name] - p) / rate for name, p in self.parameters.items()}
            size = rows.sums({name: x.square() for name, x in old.items()}).sqrt().clamp_min(1e-12)
            along = rows.sums({name: x * went[name] for name, x in old.items()})
            energy = rows.sums({name: d.square() for name, d in went.items()})
            penalty = _penalty(size, along, energy).maximum(size / ahead)
            pull = torch.where(self.penalized & (self.alive > 0), rate * penalty / size, 0.0)
            for name in rows.axes.keys() & self.parameters.keys():
                self.parameters[name].sub_(old[name] * rows.added(name, pull))
            kept = rows.sums({name: x * self.parameters[name] for name, x in old.items()})
            self.alive[self.penalized & (kept < EPSILON * size.square())] = 0.0


def redundancy(masked: Masked, weights: Mapping[str, Tensor], slopes: Mapping[str, Tensor]) -> Tensor:
    """From 0 to 1 for every unit: how far the gradient pulls it to zero, and how small its weights are."""
    rows = masked.rows
    product = rows.sums({name: weights[name] * g for name, g in slopes.items()})
    sizes = [rows.sums({n: v.square() for n, v in each.items()}).sqrt().clamp_min(1e-12) for each in (weights, slopes)]
    count = rows.sums({name: torch.ones_like(value) for name, value in weights.items()})
    mean = rows.sums({name: value.abs() for name, value in weights.items()}) / count
    return 0.5 * _spread(product / (sizes[0] * sizes[1])) + 0.5 * _spread(1 / mean.clamp_min(1e-12))


def _penalty(size: Tensor, along: Tensor, energy: Tensor) -> Tensor:
    """λ of every unit."""
    away = along < 0
    lower = -along / size
    upper = energy * size / (-along).clamp_min(1e-30)
    raised = torch.minimum(torch.minimum(AMPLIFY * lower, upper), torch.full_like(size, CAP * LAMBDA))
    return torch.where(away, raised.clamp_min(LAMBDA), torch.full_like(size, LAMBDA))


def _spread(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp_min(1e-12)
