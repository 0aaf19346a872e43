"""What every way of pruning works with, and the steps that they share: slice, reconstruct, recover, sum up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor

from compressor.graph.contract import Batch, Context, PassResult, Setting, Skip
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.folding.linears import to_linears
from compressor.passes.pruning.choose import Chooser, Ranked
from compressor.passes.pruning.reconstruct import reconstruct
from compressor.passes.pruning.resume import Resume
from compressor.passes.recover import Settings, parse_budget, recover
from compressor.passes.recover.ranks import Ranks

__all__ = ["NOTHING", "How", "Job", "analysed", "prepared"]

How = Literal["one-shot", "iterative", "alternating", "gradual", "masks", "dhspg"]
NEAR = 0.02  # of the MACs: widths land on multiples, so that a target is met only nearly
SPARSE = 0.2  # of a weight's values are zero
_LATEST: dict[str, Dimensions] = {}
NOTHING = Skip("the model", "nothing in it can be removed", whole=True)


@dataclass(frozen=True)
class Job:
    """One pruning: the prepared program, how much goes, who chooses, and the options of `Prune` by their names there.

    `batches` are what scores and reconstruction see; `known` is the program's analysis, where there is one.
    """

    program: Program
    amount: float
    chooser: Chooser
    batches: Sequence[Batch]
    context: Context
    reconstruct: bool = True
    rounds: int = 2
    between: str = "50steps"
    every: int = 1
    steps: int = 500
    rate: float | None = None
    known: Dimensions | None = None

    @cached_property
    def dimensions(self) -> Dimensions:
        return self.known or analyse(self.program)

    @cached_property
    def macs(self) -> int:
        """Multiply–accumulates before, for one sample."""
        return Removal(self.dimensions, ()).macs()

    def ranked(self, dimensions: Dimensions, comparable: bool = False) -> Ranked:
        """What may be cut of the program as it is by now: never below the share of the first widths that is to stay."""
        found = replace(self.chooser, least=0.0).ranked(dimensions, self.batches, self.context, comparable)
        ladders = []
        for one in found.ladders:
            first = self._widths.get(one.dimension.name, len(one.order))
            most = len(one.order) - math.ceil(self.chooser.least * first)
            ladders.append(replace(one, rungs=tuple(rung for rung in one.rungs if rung <= most)))
        return replace(found, ladders=[one for one in ladders if len(one.rungs) > 1])

    @cached_property
    def _widths(self) -> dict[str, int]:
        return {one.name: len(one.units) for one in self.dimensions.dimensions}

    @property
    def target(self) -> float:
        """Multiply–accumulates that may be left."""
        return self.macs * (1 - self.amount)

    @property
    def teacher(self) -> Program:
        return self.context.teacher or self.program

    @property
    def lessons(self) -> Sequence[Batch]:
        """What is trained on along the way; empty without data."""
        return self.context.training or self.context.calibration

    def resume(self, way: str) -> Resume:
        """Where finished rounds of this way to prune are kept."""
        options = (self.amount, self.chooser, self.rounds, self.between, self.every, self.steps, self.rate)
        data = [(len(batches), *map(_sum, batches[:1])) for batches in (self.batches, self.lessons)]
        return Resume(
            self.context.checkpoint, way, self.program.hash(), self.teacher.hash(), *options, self.reconstruct,
            self.context.seed, data,
        )  # fmt: skip

    def slice(self, removal: Removal) -> Program:
        """The program that was analysed without these units, its weights reconstructed where there is data."""
        smaller = cut(removal)
        if not (self.reconstruct and self.batches):
            return smaller
        return reconstruct(removal, smaller, self.batches, self.context.progress)

    def recover(
        self, student: Program, name: str, losses: str = "auto", teacher: Program | None = None, share: float = 1.0
    ) -> Program:
        """Train for a share of `between`, the original as teacher unless another is given; nothing without data.

        It runs in this process alone. `name` tells its checkpoint from others.
        """
        if not self.lessons or self.between == "none":
            return student
        budget = parse_budget(self.between, "prune: between")
        path = self.context.checkpoint
        done = recover(
            student, teacher or self.teacher, self.lessons, replace(budget, amount=budget.amount * share),
            losses=losses, settings=Settings(rate=self.rate), seed=self.context.seed, progress=self.context.progress,
            ranks=Ranks(), checkpoint=None if path is None else path.with_name(f"{name}.pt"), caller="prune",
        )  # fmt: skip
        return done.program

    def result(
        self, program: Program, skipped: Iterable[Skip], settings: Mapping[str, Setting] | None = None
    ) -> PassResult:
        """What the pass returns: parameters that are smaller now, what stays and why, and whether the target is met.

        Without `settings` a recipe keeps the options, which train the same way again.
        """
        left = Removal(analyse(program), ()).macs() if program is not self.program else self.macs
        reached = 1 - left / self.macs
        short = Skip("the model", f"{reached:.0%} of its MACs could go, not {self.amount:.0%}", whole=True)
        told = [*_frozen(self.dimensions), *skipped, *([short] if reached < self.amount - NEAR else [])]
        return PassResult(program, self.shrunk(program), tuple(told), settings or {}, _filled(self.program, program))

    def shrunk(self, program: Program) -> tuple[str, ...]:
        """Parameters that are smaller now."""
        new = program.tensors()
        pairs = [(name, old, new[name]) for name, old in self.program.tensors().items() if name in new]
        return tuple(name for name, old, now in pairs if now.shape != old.shape)


def _sum(batch: Batch) -> float:
    return math.fsum(float(tensor.double().sum()) for tensor in batch.values())


def prepared(program: Program) -> Program:
    """A copy without dead code or in-place operators, its products with stored matrices as linears."""
    copy, _ = functional_copy(program)
    to_linears(copy)
    return finish(copy)


def analysed(program: Program) -> Dimensions:
    """The analysis of the program, prepared. The latest one is kept, as a planner cuts one program in hundreds of ways:
    what it holds is read, and not changed."""
    digest = program.hash()
    if digest not in _LATEST:
        _LATEST.clear()
        _LATEST[digest] = analyse(prepared(program))
    return _LATEST[digest]


def _filled(before: Program, after: Program) -> tuple[str, ...]:
    """Says where a sparse weight's zeros are gone: a cut and what makes up for it know nothing of their pattern."""
    new = after.tensors()
    sparse = {n: share for n, old in before.tensors().items() if old.dim() > 1 and (share := _zeros(old)) > SPARSE}
    lost = [name for name, share in sparse.items() if name in new and _zeros(new[name]) < share - SPARSE / 2]
    return (f"{len(lost)} sparse weights lost their zeros: prune first, then sparsify",) if lost else ()


def _zeros(tensor: Tensor) -> float:
    return float((tensor == 0).float().mean()) if tensor.numel() else 0.0


def _frozen(dimensions: Dimensions) -> list[Skip]:
    """What cannot be removed, by tensor: the reason of most of its rows."""
    found: dict[str, str] = {}
    for one in dimensions.frozen:
        found.setdefault(one.tensor, f"axis {one.axis} stays: {one.reason}")
    return [Skip(tensor, reason) for tensor, reason in found.items()]
