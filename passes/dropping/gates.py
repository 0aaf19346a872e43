"""Gates that learn what goes: each branch is there or not by chance, while the cost that stays is held.

    min over α   E_z L(f(x; z), f(x)) + κ · s · ((Σ c_i P(z_i > 0) / Σ c_i − (1 − amount)) / amount)²

f(x; z) is the network with z_i · branch_i in place of branch_i, z_i hard concrete with log α_i (`recover/concrete.py`),
drawn for every sample anew; c_i what leaving part i out saves (predicted time on the target), s the distance of the
outputs at the start, where every gate is as likely open as closed. The weights stay, and all gates learn together, so
that what one block makes up for another counts. The lowest α go.

Gates have to be zero or one while they learn. With numbers between, a network with norms on its stream takes next to no
notice of every branch being times 1 − amount: that pays the cost, and tells nothing of which branch could go.
(FoldGPT, Liu et al., 2024, arXiv:2407.00928, has learned gates, a constraint on FLOPs and a polarizing penalty; gates
that are drawn are Louizos et al.'s, 2018, arXiv:1712.01312.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Context
from compressor.graph.edit import add_tensor, begin, finish, insert, set_tensor
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import sum_of, without
from compressor.passes.dropping.candidates import Candidate
from compressor.passes.recover import Settings, recover
from compressor.passes.recover.concrete import BETA, HIGH, LOW, below, logistic
from compressor.passes.recover.judge import Judge
from compressor.passes.recover.stream import batch_inputs

__all__ = ["LOG_ALPHA", "NOISE", "OPEN", "Chance", "Pressure", "gated", "learned_gates", "savings"]

aten = torch.ops.aten
RATE = 0.2  # Adam's, of log α: a gate crosses from open to closed in some twenty steps
COST = 1.0  # κ
OPEN, UNDECIDED = 9.0, 0.0  # log α at which a gate is 1, and where all begin
DRAWS = 64  # networks at a time: the sample at place j sees the one of number j mod 64
JUDGED = (1 << 24) - 1  # the step whose draw is judged
LOG_ALPHA, NOISE = "gates.log_alpha", "gates.noise"


@dataclass(frozen=True)
class Pressure:
    """The penalty on gates: how far the cost that they are expected to leave is from the share that may stay."""

    costs: tuple[float, ...]
    amount: float
    scale: float

    def __call__(self, parameters: Mapping[str, Tensor], fraction: float) -> Tensor:
        gates = 1 - below(parameters[LOG_ALPHA])
        costs = torch.tensor(self.costs).to(gates)
        over = ((costs * gates).sum() / costs.sum() - (1 - self.amount)) / self.amount
        pressed: Tensor = self.scale * COST * over.square()
        return pressed


@dataclass(frozen=True)
class Chance:
    """The engine's variants: in every step other gates are closed, and in what is judged the same ones each time."""

    count: int
    seed: int

    def at(self, step: int) -> Mapping[str, Tensor]:
        generator = torch.Generator().manual_seed((self.seed << 24) + step)
        return {NOISE: logistic((self.count, DRAWS), generator)}

    def judged(self) -> Sequence[Mapping[str, Tensor]]:
        return [self.at(JUDGED)]


def learned_gates(
    program: Program, found: Sequence[Candidate], count: int, steps: int, judge: Judge, context: Context
) -> list[float]:
    """The probability of each candidate to stay after so many steps, where `count` are to go; the lower, the less it is
    missed. Raises RecipeError where the program cannot be trained, or there is no data."""
    student, chance = gated(program, found, UNDECIDED), Chance(len(found), context.seed)
    pressure = Pressure(tuple(savings(program, found, context)), count / len(found), _distance(student, chance, judge))
    batches: Sequence[Batch] = context.training or context.calibration
    settings = Settings(
        rate=RATE, keep=tuple(name for name in student.tensors() if name != LOG_ALPHA), penalty=pressure,
        variants=chance, batch_norm="frozen", precision="fp32",
    )  # fmt: skip
    done = recover(
        student, program, batches, f"{steps}steps", losses="output", settings=settings, seed=context.seed,
        progress=context.progress, checkpoint=context.checkpoint, held=judge.batches, caller="drop",
    )  # fmt: skip
    stays: list[float] = (1 - below(done.program.get(LOG_ALPHA).detach().double())).tolist()
    return stays


def _distance(student: Program, chance: Chance, judge: Judge) -> float:
    """How far the outputs are when every gate is as likely open as closed: the size of losses while they learn."""
    drawn = begin(student)
    set_tensor(drawn, NOISE, chance.at(0)[NOISE])
    return judge.damage(finish(drawn)) or 1.0


def savings(program: Program, found: Sequence[Candidate], context: Context) -> list[float]:
    """What leaving each out saves: milliseconds, or parameters where no model predicts any."""
    if context.latency is None:
        return [float(sum(program.get(name).numel() for name in each.parameters)) or 1.0 for each in found]
    whole = context.latency.predict(program, context.target).latency_ms
    rest = [context.latency.predict(finish(without(program, [each])), context.target).latency_ms for each in found]
    return [max(whole - each, 1e-6 * whole) for each in rest]


def gated(program: Program, found: Sequence[Candidate], log_alpha: float = OPEN) -> Program:
    """The program with a gate on each candidate: open ones change nothing. LOG_ALPHA holds one number each."""
    copy = begin(program)
    twins = dict(zip(program.graph.nodes, copy.graph.nodes, strict=True))
    gates = _gates(copy, len(found), log_alpha)
    sizes = _batch_sizes(program)
    for number, each in enumerate(found):
        row = insert(copy, aten.select.int, (gates, 0, number), like=gates, before=gates.next)
        branches = each.block.branches if each.branch is None else (each.branch,)
        for branch in branches:
            total, term = twins[sum_of(each.block.nodes, branch)], twins[branch.exit]
            gate = _of_sample(copy, row, term, total, sizes)
            total.replace_input_with(term, insert(copy, aten.mul.Tensor, (term, gate), like=term, before=total))
        if not branches:
            _between(copy, twins[each.block.entry], twins[each.block.exit], row, sizes)
    return finish(copy)


def _gates(program: Program, count: int, log_alpha: float) -> fx.Node:
    """z, [candidates, draws]."""
    first = next(node for node in program.graph.nodes if node.op == "call_function")
    learned = add_tensor(program, LOG_ALPHA, torch.full((count,), log_alpha), first)
    noise = add_tensor(program, NOISE, torch.zeros(count, DRAWS), first, buffer=True)

    def call(target: Callable[..., Any], *args: object) -> fx.Node:
        return insert(program, target, args, like=first)

    column = call(aten.unsqueeze.default, learned, 1)
    sharp = call(aten.div.Tensor, call(aten.add.Tensor, noise, column), BETA)
    wide = call(aten.add.Tensor, call(aten.mul.Tensor, call(aten.sigmoid.default, sharp), HIGH - LOW), LOW)
    return call(aten.clamp.default, wide, 0.0, 1.0)


def _of_sample(program: Program, row: fx.Node, value: fx.Node, before: fx.Node, sizes: set[str]) -> fx.Node:
    """Of a candidate's draws the one of each sample, to multiply a value by; the same for all of them where the value
    does not count samples first."""

    def call(target: Callable[..., Any], *args: object) -> fx.Node:
        return insert(program, target, args, like=value, before=before)

    shape = value.meta["val"].shape
    if not shape or str(shape[0]) not in sizes:
        return call(aten.select.int, row, 0, 0)
    samples = value
    for _ in shape[1:]:
        samples = call(aten.select.int, samples, -1, 0)
    ones = insert(program, aten.ones_like.default, (samples,), like=value, before=before, kwargs={"dtype": torch.int64})
    places = call(aten.cumsum.default, ones, 0)
    gate = call(aten.index_select.default, row, 0, call(aten.remainder.Scalar, places, DRAWS))
    for _ in shape[1:]:
        gate = call(aten.unsqueeze.default, gate, -1)
    return gate


def _batch_sizes(program: Program) -> set[str]:
    """How many samples the inputs hold, as shapes say it."""
    inputs, holders = batch_inputs(program), program.graph.find_nodes(op="placeholder")
    pairs = zip(program.inputs, holders, strict=True)
    return {str(node.meta["val"].shape[0]) for spec, node in pairs if spec.name in inputs and spec.shape}


def _between(program: Program, entry: fx.Node, end: fx.Node, row: fx.Node, sizes: set[str]) -> None:
    """entry + gate · (end − entry) in place of `end`."""
    after = end.next
    gate = _of_sample(program, row, entry, after, sizes)
    change = insert(program, aten.sub.Tensor, (end, entry), like=end, before=after)
    opened = insert(program, aten.mul.Tensor, (change, gate), like=end, before=after)
    result = insert(program, aten.add.Tensor, (entry, opened), like=end, before=after)
    end.replace_all_uses_with(result, delete_user_cb=lambda user: user is not change)
