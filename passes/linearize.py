"""Activation functions that matter least become identities, so that `fold` can merge the layers around them.

    y = a·act(v) + (1 − a)·v        a: learned under a cost, or chosen by measuring; then from 1 to 0 in training

By itself it saves next to nothing: it prepares for `fold` and is judged with it. So only those activations go without
which layers merge exactly into fewer that cost less on the target (an inverted residual into one 3×3 convolution, a
feed-forward block into one linear): DepthShrinker (Fu et al., 2022, arXiv:2206.00843), for any captured network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Option, Pass, PassResult, Skip, Value
from compressor.graph.program import Program
from compressor.passes.linearizing.importance import damage, greedy, learned, without
from compressor.passes.linearizing.job import Job
from compressor.passes.linearizing.settings import TRAINING, lesson_of, setting_of
from compressor.passes.linearizing.stretches import Stretch
from compressor.passes.linearizing.training import Lesson
from compressor.passes.reading.options import refuse_idle
from compressor.passes.recover import parse_budget
from compressor.passes.recover.objective import parse_losses

__all__ = ["Linearize"]

MILDER = 0.5  # of the activations, when the metric fell too far
LEAST = 0.05


@dataclass(frozen=True)
class Linearize(Pass):
    """Take activation functions out, those whose layers merge to advantage and that matter least.

    amount: the share of the activation functions that go; what does not merge stays, so fewer may go.
    by: what matters least: "gates" learns a coefficient each under the cost that it saves, "greedy" measures one after
        the other on the calibration data; "auto" learns where there is training data.
    train: how long the network learns to do without them, as `recover` counts: 600steps, 3epochs, 5min; or none.
        Without training data the layers behind them are fitted in closed form instead.
    search: how long "gates" learns.
    losses: what is learned, as in `recover`.
    rate: peak learning rate; none: as in `recover`.
    samples: how many calibration samples the measuring and the fit see.
    """

    name: ClassVar[str] = "linearize"
    main: ClassVar[str] = "amount"
    structural: ClassVar[bool] = True
    order: ClassVar[int] = 15  # after `drop`, which knows blocks by what repeats
    prepares: ClassVar[bool] = True
    amount: float = 0.5
    by: Literal["auto", "gates", "greedy"] = "auto"
    train: str = "600steps"
    search: str = "100steps"
    losses: str = "auto"
    rate: float | None = None
    samples: int = 128

    def __post_init__(self) -> None:
        """Raises RecipeError for options that make no sense."""
        if not 0.0 < self.amount <= 1.0:
            raise RecipeError(f"amount is {self.amount}", where="linearize", way_out="It is a share: 0.5.")
        for name, number in (("samples", self.samples), ("rate", 1.0 if self.rate is None else self.rate)):
            if not number > 0:
                raise RecipeError(f"{name} is {number}", where="linearize", way_out="It is a number above 0.")
        if self.train != "none":
            parse_budget(self.train, "linearize: train")
        else:
            refuse_idle(self, ("losses", "rate"), "train=none", "train: train=600steps")
        if self.by == "greedy":
            refuse_idle(self, ("search",), "by=greedy", "take by=gates")
        parse_losses(self.losses)
        if parse_budget(self.search, "linearize: search").unit == "seconds":
            raise RecipeError(
                f"search is {self.search!r}; how much fits into a time differs from run to run", where="linearize",
                way_out="Write 100steps or 1epochs.",
            )  # fmt: skip

    def learns(self) -> bool:
        return TRAINING in self.sites or (not self.sites and (self.train != "none" or self.by == "gates"))

    def milder(self) -> dict[str, Value] | None:
        return {"amount": round(MILDER * self.amount, 4)} if self.amount * MILDER >= LEAST else None

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        return (cls(),) if "latency" in axes else ()

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """Every stretch by itself: bytes and latency of the whole program when it is merged, and the outputs' loss."""
        job = Job(program, context, self.keep, self.samples)
        for stretch in job.found.stretches:
            if context.unweighed:
                yield Option(stretch.name, setting_of(stretch), job.folded.unique_bytes(), level="linear")
                continue
            candidate = without(job.folded, job.folded, stretch, job.batch)
            merged = job.merged(candidate)
            latency = None if context.latency is None else context.latency.predict(merged, context.target).latency_ms
            loss = damage(job.folded, candidate, job.example)
            yield Option(stretch.name, setting_of(stretch), merged.unique_bytes(), latency, loss, "linear")

    def run(self, program: Program, context: Context) -> PassResult:
        job = Job(program, context, self.keep, self.samples)
        chosen, skipped = job.named(self.sites) if self.sites else self._chosen(job)
        lesson = lesson_of(self.sites) if self.sites else self._lesson()
        if not chosen:
            return PassResult(program, (), tuple(skipped))
        return job.result(chosen, skipped, lesson)

    def _lesson(self) -> Lesson | None:
        return None if self.train == "none" else Lesson(self.train, self.losses, self.rate)

    def _chosen(self, job: Job) -> tuple[list[Stretch], list[Skip]]:
        found, skipped = job.found, list(job.found.skipped)
        wanted = max(1, round(self.amount * found.count)) if found.count else 0
        if self.by == "gates" and not job.context.training:
            skipped.append(Skip("gates", "there is no training data: measured one by one instead", whole=True))
        if sum(len(stretch.activations) for stretch in found.stretches) <= wanted:
            chosen = list(found.stretches)
        elif self.by != "greedy" and job.context.training:
            chosen = learned(job.folded, found.stretches, wanted, self.search, job.context)
        else:
            chosen = greedy(job.folded, found.stretches, wanted, job.example, job.context)
        gone = {name for stretch in chosen for name in stretch.activations}
        stay = [Skip(name, "it matters more than those that go") for s in found.stretches for name in s.activations]
        return chosen, [*skipped, *(skip for skip in stay if skip.site not in gone)]
