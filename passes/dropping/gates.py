"""Gates that learn what goes: one on each block's branches, driven to 0 or 1 while the cost is held.

    min over g   L(f(x; g), f(x)) + s · (κ · ((Σ c_i g_i / Σ c_i − (1 − amount)) / amount)² + t · mean 16 g² (1 − g)²)

f(x; g) is the network with g_i · branch_i in place of branch_i, c_i what leaving part i out saves (predicted time on
the target), t the share of the training that is behind, s the distance of the outputs when all gates are 1 − amount.
Only the gates are trained, together, so that what one block makes up for another counts. (FoldGPT, Liu et al., 2024,
arXiv:2407.00928, has learned gates, a constraint on FLOPs and a polarizing penalty; the forms here are our own.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Context
from compressor.graph.edit import add_tensor, begin, finish, insert, set_tensor
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import sum_of, without
from compressor.passes.dropping.candidates import Candidate
from compressor.passes.recover import Settings, recover
from compressor.passes.recover.judge import Judge

__all__ = ["Pressure", "gated", "learned_gates", "savings"]

aten = torch.ops.aten
RATE = 0.02  # Adam's: a gate crosses from 1 to 0 in fifty steps
COST = 10.0  # κ


@dataclass(frozen=True)
class Pressure:
    """The penalty on gates: the cost that they leave, and that they are neither 0 nor 1."""

    names: tuple[str, ...]
    costs: tuple[float, ...]
    amount: float
    scale: float

    def __call__(self, parameters: Mapping[str, Tensor], fraction: float) -> Tensor:
        gates = torch.stack([parameters[name] for name in self.names])
        costs = torch.tensor(self.costs).to(gates)
        over = ((costs * gates).sum() / costs.sum() - (1 - self.amount)) / self.amount
        apart = (16 * gates.square() * (1 - gates).square()).mean()
        pressed: Tensor = self.scale * (COST * over.square() + fraction * apart)
        return pressed


def learned_gates(
    program: Program, found: Sequence[Candidate], amount: float, steps: int, judge: Judge, context: Context
) -> list[float]:
    """A gate for each candidate after so many steps; the lower, the less it is missed.

    Raises RecipeError where the program cannot be trained, or there is no data.
    """
    student, names = gated(program, found)
    half = begin(student)
    for name in names:
        set_tensor(half, name, torch.tensor(1.0 - amount))
    scale = judge.damage(finish(half)) or 1.0
    pressure = Pressure(tuple(names), tuple(savings(program, found, context)), amount, scale)
    batches: Sequence[Batch] = context.training or context.calibration
    settings = Settings(
        rate=RATE, keep=tuple(name for name in student.tensors() if name not in names), penalty=pressure,
        batch_norm="frozen", precision="fp32",
    )  # fmt: skip
    done = recover(
        student, program, batches, f"{steps}steps", losses="output", settings=settings, seed=context.seed,
        progress=context.progress, checkpoint=context.checkpoint,
    )  # fmt: skip
    return [float(done.program.get(name).detach()) for name in names]


def savings(program: Program, found: Sequence[Candidate], context: Context) -> list[float]:
    """What leaving each out saves: milliseconds, or parameters where no model predicts any."""
    if context.latency is None:
        return [float(sum(program.get(name).numel() for name in each.parameters)) or 1.0 for each in found]
    whole = context.latency.predict(program, context.target).latency_ms
    rest = [context.latency.predict(finish(without(program, [each])), context.target).latency_ms for each in found]
    return [max(whole - each, 1e-6 * whole) for each in rest]


def gated(program: Program, found: Sequence[Candidate]) -> tuple[Program, list[str]]:
    """The program with a gate of 1 on each candidate, which changes nothing, and the gates' names."""
    copy = begin(program)
    twins = dict(zip(program.graph.nodes, copy.graph.nodes, strict=True))
    names = []
    for number, each in enumerate(found):
        gate = add_tensor(copy, f"gates.{number}", torch.ones(()), _first(copy))
        names.append(str(gate.target))
        branches = each.block.branches if each.branch is None else (each.branch,)
        for branch in branches:
            total, term = twins[sum_of(each.block.nodes, branch)], twins[branch.exit]
            total.replace_input_with(term, insert(copy, aten.mul.Tensor, (term, gate), like=term, before=total))
        if not branches:
            _between(copy, twins[each.block.entry], twins[each.block.exit], gate)
    return finish(copy), names


def _first(program: Program) -> fx.Node:
    found: fx.Node = next(node for node in program.graph.nodes if node.op == "call_function")
    return found


def _between(program: Program, entry: fx.Node, end: fx.Node, gate: fx.Node) -> None:
    """entry + gate · (end − entry) in place of `end`."""
    after = end.next
    change = insert(program, aten.sub.Tensor, (end, entry), like=end, before=after)
    opened = insert(program, aten.mul.Tensor, (change, gate), like=end, before=after)
    result = insert(program, aten.add.Tensor, (entry, opened), like=end, before=after)
    end.replace_all_uses_with(result, delete_user_cb=lambda user: user is not change)
