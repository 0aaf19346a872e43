"""Remove whole units: channels, heads, inner widths, hidden states, so that less is computed.

    min Σ score(u) over the removed units u    such that    MACs(rest) ≤ (1 − amount) · MACs

What belongs together is told by the dimension analysis (`graph/dimensions`), what a unit is worth by a score
(`pruning/scores`), how many go where by `pruning/allocate`, and whether they go at once or while the network trains by
`how`. The cut is physical: parameters get smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Option, Pass, PassResult
from compressor.graph.program import Program
from compressor.passes.pruning.alternating import alternating
from compressor.passes.pruning.choose import Chooser, Where
from compressor.passes.pruning.dhspg import dhspg
from compressor.passes.pruning.gradual import gradual
from compressor.passes.pruning.job import How, Job, analysed, prepared
from compressor.passes.pruning.masks import masks
from compressor.passes.pruning.once import as_told, eighths, one_shot
from compressor.passes.pruning.rounds import iterative
from compressor.passes.pruning.scores import Score
from compressor.passes.reading.samples import limited
from compressor.passes.recover import parse_budget
from compressor.targets.target import Target

__all__ = ["WAYS", "Prune"]

WAYS: Mapping[How, Callable[[Job], PassResult]] = {
    "one-shot": one_shot, "iterative": iterative, "alternating": alternating, "gradual": gradual,
    "masks": masks, "dhspg": dhspg,
}  # fmt: skip
USED: Mapping[How, frozenset[str]] = {
    "one-shot": frozenset(),
    "iterative": frozenset({"rounds", "between", "rate"}),
    "alternating": frozenset({"between", "rate"}),
    "gradual": frozenset({"between", "every", "rate"}),
    "masks": frozenset({"between", "steps", "rate"}),
    "dhspg": frozenset({"steps", "rate"}),
}
OF_TRAINING = frozenset[str]().union(*USED.values())


@dataclass(frozen=True)
class Prune(Pass):
    """Slice units off until a share of the multiply–accumulates is gone.

    amount: the share of multiply–accumulates that goes.
    score: what a unit is worth; "auto" is disturbed where there is data, but taylor-element1 for language models, and
        magnitude without data or for uniform widths of convolutional networks.
    where: "uniform" cuts every dimension by the same share, "global" where it does the least damage per MAC,
        "latency" where it does the least damage per predicted time on the target.
    samples: how many calibration samples the score and the reconstruction see.
    reconstruct: fit the weights that stay to what the original layers computed, where there is data.
    multiple: widths land on multiples of this; 0 is what the target runs well.
    least: the share of every dimension that stays.
    how: "one-shot" cuts once; "iterative" in rounds with recovery between; "alternating" first the widths that residual
        sums tie together, then the others; "gradual" a step at a time while training; "masks" learns what goes;
        "dhspg" trains your own function (--train) so that the units that go are zero when they are cut.
    rounds: cuts of "iterative".
    between: recovery after each round or stage, and at the end of "gradual" and "masks": 50steps, 1epochs or none.
    every: training steps between two removals of "gradual".
    steps: training steps of "masks" and "dhspg".
    rate: peak learning rate of all training; none: 0.0003 for "gradual" and "masks", 0.001 for "dhspg", and what
        `recover` takes between rounds.
    """

    name: ClassVar[str] = "prune"
    main: ClassVar[str] = "amount"
    structural: ClassVar[bool] = True
    order: ClassVar[int] = 30
    amount: float = 0.5
    score: Score = "auto"
    where: Where = "uniform"
    samples: int = 128
    reconstruct: bool = True
    multiple: int = 0
    least: float = 0.1
    how: How = "one-shot"
    rounds: int = 2
    between: str = "50steps"
    every: int = 1
    steps: int = 500
    rate: float | None = None

    def __post_init__(self) -> None:
        """Raises RecipeError for numbers that make no sense."""
        for name, value, right in (
            ("amount", self.amount, 0.0 < self.amount < 1.0),
            ("least", self.least, 0.0 <= self.least <= 1.0),
            ("samples", self.samples, self.samples >= 1),
            ("multiple", self.multiple, self.multiple >= 0),
            ("rounds", self.rounds, self.rounds >= 1),
            ("every", self.every, self.every >= 1),
            ("steps", self.steps, self.steps >= 1),
            ("rate", self.rate, self.rate is None or self.rate > 0),
        ):
            if not right:
                shares = name in ("amount", "least")
                way_out = "It is a share: 0.5." if shares else "It is a number above 0."
                raise RecipeError(f"{name} is {value}", where="prune", way_out=way_out)
        if self.between != "none" and parse_budget(self.between, "prune: between").unit == "seconds":
            raise RecipeError(
                f"between is {self.between!r}; how much fits into a time differs from run to run", where="prune",
                way_out="Write 50steps, 1epochs or none.",
            )  # fmt: skip

    def takes_function(self) -> bool:
        return self.how == "dhspg"

    def learns(self) -> bool:
        return self.how not in ("one-shot", "dhspg") and not self.sites

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        return (cls(),)

    @classmethod
    def reads(cls, target: Target) -> tuple[object, ...]:
        return (target.width_multiple,)

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """For every dimension, an eighth to seven eighths of its units removed."""
        return eighths(self._job(program, context))

    def run(self, program: Program, context: Context) -> PassResult:
        job = self._job(program, context)
        if not self.sites:
            job.chooser.check(job.dimensions)
        done = as_told(job, self.sites) if self.sites else WAYS[self.how](job)
        if not done.changed:
            return PassResult(program, (), done.skipped)
        unused = [n for n in sorted(OF_TRAINING - USED[self.how]) if getattr(self, n) != getattr(Prune, n)]
        notes = [f"how={self.how} takes no notice of {', '.join(unused)}"] if unused and not self.sites else []
        return replace(done, notes=(*done.notes, *notes))

    def _job(self, program: Program, context: Context) -> Job:
        known = analysed(program) if self.sites else None
        return Job(
            prepared(program) if known is None else known.program, self.amount,
            Chooser(self.score, self.where, self.multiple, self.least, self.keep),
            limited(program, context.calibration, self.samples), context, self.reconstruct, self.rounds, self.between,
            self.every, self.steps, self.rate, known,
        )  # fmt: skip
