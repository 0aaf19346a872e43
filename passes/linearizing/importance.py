"""Which stretches go: measured one by one, or learned with gates under the cost that they save.

    greedy   again and again the stretch with the least D / gain, D the loss of the outputs without it, after a fit
    gates    min over a   L(f(x; a)) + c·max(0, T(a) − T*) / T + t·mean 4a(1 − a)        y = a·act(v) + (1 − a)·v

T(a) = Σ gain·a is what could still be saved, T* what may be left of it; the last term grows with the training and
drives each a to 0 or 1 (FoldGPT's polarizing gates). The weights stay as they are meanwhile; the lowest a go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.graph import edit
from compressor.graph.contract import Batch, Context
from compressor.graph.program import Program
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.fit import refit
from compressor.passes.linearizing.removal import blended, removed
from compressor.passes.linearizing.stretches import Stretch
from compressor.passes.recover import Settings, parse_budget, recover
from compressor.passes.recover.plan import Seen, make_plan
from compressor.passes.recover.ranks import Ranks
from compressor.passes.recover.terms import build_term

__all__ = ["Gates", "calls", "damage", "greedy", "learned", "without"]

MOST = 100  # networks that are measured: where the rounds would take more, the first round decides alone
RATE = 0.03  # of gates
PRESSURE = 10.0  # c
GATE = "linearize_gate_{}"


def greedy(program: Program, stretches: Sequence[Stretch], count: int, batch: Batch, context: Context) -> list[Stretch]:
    """Stretches with `count` activations or nearly so, in the order in which they went."""
    left, chosen, current = list(stretches), list[Stretch](), program
    rounds = len(left) * min(len(left), count) <= MOST
    scores: dict[str, float] = {}
    while left:
        if rounds or not scores:
            context.progress.say(f"linearize: measuring {len(left)} stretches")
            scores = {s.name: damage(program, without(current, program, s, batch), batch) for s in left}
        best = min(left, key=lambda s: scores[s.name] / max(s.gain, 1e-9))
        left.remove(best)
        if sum(len(s.activations) for s in (*chosen, best)) > count:
            continue
        chosen.append(best)
        current = without(current, program, best, batch) if rounds else current
        if sum(len(s.activations) for s in chosen) == count:
            break
    return chosen


def without(current: Program, dense: Program, stretch: Stretch, batch: Batch | None) -> Program:
    """A program with one stretch more made linear, the layers behind its activations fitted on a batch."""
    copy = edit.begin(current)
    removed(Bench(copy), stretch.nodes)
    copy = edit.finish(copy)
    return copy if batch is None else refit(copy, dense, calls(stretch), batch)


def calls(stretch: Stretch) -> list[str]:
    """The layers behind the first activation of a stretch, as they are called."""
    behind = next(index for index, link in enumerate(stretch.links) if link.activation is not None)
    return [link.second.node.name for link in stretch.links[behind:]]


def damage(dense: Program, candidate: Program, batch: Batch) -> float:
    """The loss of the outputs against the original's: what recovery would train on."""
    plan = make_plan(candidate, dense, batch)
    with torch.no_grad():
        theirs = tuple(dense.run([batch[name] for name in plan.feeds]).values())
        seen = Seen(tuple(candidate.run(batch).values()), theirs)
        found = float(build_term("output", plan, lambda: [seen])(seen).mean())
    return found if found == found else float("inf")


@dataclass(frozen=True)
class Gates:
    """The penalty: `gains` by gate, and the share of their sum that may be left."""

    gains: tuple[tuple[str, float], ...]
    left: float

    def __call__(self, parameters: Mapping[str, Tensor], fraction: float) -> Tensor:
        """c·max(0, T(a) − T*) / T + t·mean 4a(1 − a)."""
        names = [name for name, _ in self.gains]
        gates = torch.stack([parameters[name].reshape(()) for name in names])
        worth = torch.tensor([gain for _, gain in self.gains], device=gates.device)
        remaining = (gates * worth).sum() / worth.sum()
        closed = gates.clamp(0, 1)
        return PRESSURE * (remaining - self.left).clamp_min(0) + fraction * (4 * closed * (1 - closed)).mean()


def learned(program: Program, stretches: Sequence[Stretch], count: int, budget: str, context: Context) -> list[Stretch]:
    """Stretches with at most `count` activations, by the gates that closed furthest."""
    copy = edit.begin(program)
    bench = Bench(copy)
    first = next(node for node in copy.graph.nodes if node.op == "call_function")
    names = []
    for index, stretch in enumerate(stretches):
        gate = edit.add_tensor(copy, GATE.format(index), torch.full((), 0.9), first)
        names.append(str(gate.target))
        closed = edit.insert(copy, torch.ops.aten.clamp.default, (gate, 0.0, 1.0), like=first, before=first)
        share = edit.insert(copy, torch.ops.aten.rsub.Scalar, (closed, 1.0), like=first, before=first)
        for node in [node for node in copy.graph.nodes if node.name in stretch.nodes]:
            blended(bench, node, share)
    student = edit.finish(copy)
    total = sum(len(stretch.activations) for stretch in stretches)
    gains = tuple((name, max(s.gain, 1e-9)) for name, s in zip(names, stretches, strict=True))
    others = tuple(name for name in student.tensors() if name not in names)
    path = context.checkpoint
    done = recover(
        student, context.teacher or program, context.training, parse_budget(budget, "linearize: search"),
        settings=Settings(rate=RATE, keep=others, batch_norm="frozen", penalty=Gates(gains, 1 - count / total)),
        losses="output", seed=context.seed, progress=context.progress, ranks=Ranks(),
        checkpoint=None if path is None else path.with_name("linearize-gates.pt"), caller="linearize",
    )  # fmt: skip
    values = {name: float(done.program.get(name).detach()) for name in names}
    ordered = sorted(zip(names, stretches, strict=True), key=lambda pair: values[pair[0]])
    chosen: list[Stretch] = []
    for _, stretch in ordered:
        if sum(len(s.activations) for s in (*chosen, stretch)) <= count:
            chosen.append(stretch)
    return chosen
