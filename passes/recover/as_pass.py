"""Recovery as a pass: the program learns from the original, without labels, what the passes before it took away.

w ← w − η ∇ L(program(x), original(x))        x: the user's data that is not evaluated on
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Pass, PassResult, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.recover.budget import parse_budget
from compressor.passes.recover.device import check_device
from compressor.passes.recover.engine import Recovered, Settings, recover
from compressor.passes.recover.masks import zeros_of
from compressor.passes.recover.objective import parse_losses
from compressor.passes.recover.pace import check_marks
from compressor.passes.recover.trainee import untrainable

__all__ = ["Recover"]

SITE = "program"
_NOT_OPTIONS = ("sites", "keep")
_NO_DATA = "there is no data to train on: give more samples in --data than are evaluated on, or arrays under train/"


@dataclass(frozen=True)
class Recover(Pass):
    """Train the program to compute what the original does.

    budget: how long: "5min", "300steps" or "3epochs".
    losses: "auto", a preset (distilbert, minitron, ofa, pela, foldgpt, blockwise), or a sum such as "kl+0.5*hidden".
    rate: peak learning rate; none: 0.001 for convolutional networks, for others less the wider they are (0.0003 at
        384), and up to four times as much the less the student agrees with its teacher at first.
    batch: samples a step; none: as many as the data's batches hold.
    temperature: what class scores are softened with; none: 3 for classes, 1 for tokens.
    zeros: "train" them like any weight, or "keep" every weight zero that is zero (after sparsify).
    device: "auto", "cpu", "cuda" or "cuda:1".
    precision: "auto" is half precision on GPUs; "fp32", "bf16", "fp16".
    """

    name: ClassVar[str] = "recover"
    main: ClassVar[str] = "budget"
    trains: ClassVar[bool] = True
    budget: str = "300steps"
    losses: str = "auto"
    rate: float | None = None
    batch: int | None = None
    temperature: float | None = None
    zeros: Literal["train", "keep"] = "train"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    def __post_init__(self) -> None:
        """Raises RecipeError for a budget, loss or number that makes no sense."""
        if SITE in self.sites:
            self._effective()
        parse_budget(self.budget)
        parse_losses(self.losses)
        check_device(self.device)
        for name, value in (("rate", self.rate), ("batch", self.batch), ("temperature", self.temperature)):
            if value is not None and not value > 0:
                raise RecipeError(f"{name} is {value}; it is a number above 0", where="recover")

    def run(self, program: Program, context: Context) -> PassResult:
        """Train. Where it declines, or the held-out loss did not fall, the program is the one given."""
        chosen, marks = self._effective()
        return chosen._run(program, context, marks)

    def _run(self, program: Program, context: Context, marks: str) -> PassResult:
        reason = self._reason(program, context)
        if reason is not None or context.teacher is None:
            return PassResult(
                program, skipped=(Skip(SITE, reason or "there is no original to learn from", whole=True),)
            )
        done = recover(
            program, context.teacher, context.training, parse_budget(self.budget), losses=self.losses,
            settings=self._settings(program), seed=context.seed, progress=context.progress,
            checkpoint=context.checkpoint, marks=marks,
        )  # fmt: skip
        for note in done.notes:
            context.progress.say(f"recover: {note}")
        if not done.improved:
            return PassResult(program, skipped=(Skip(SITE, _no_better(done), whole=True),))
        context.progress.say(f"recover: {_summary(done)}")
        return PassResult(done.program, done.changed, settings={SITE: self._done(done)})

    def _reason(self, program: Program, context: Context) -> str | None:
        """Why there is nothing to do, or None."""
        if not len(context.training):
            return _NO_DATA
        if context.teacher is not None and program.hash() == context.teacher.hash():
            return "the program is still the original: there is nothing to recover"
        return untrainable(program)

    def _settings(self, program: Program) -> Settings:
        return Settings(
            rate=self.rate, batch=self.batch, temperature=self.temperature, device=self.device,
            precision=self.precision, keep=self.keep, masks=zeros_of(program) if self.zeros == "keep" else {},
        )  # fmt: skip

    def _effective(self) -> tuple[Recover, str]:
        """The pass that a recipe's site asks for, and the marks that replay its time budget."""
        setting = dict(self.sites.get(SITE, {}))
        marks = str(setting.pop("marks", ""))
        try:
            check_marks(marks)
        except ValueError:
            raise RecipeError(f"marks are {marks!r}, not rising steps", where=f"recover: site {SITE!r}") from None
        known = {option.name for option in fields(self)} - {*_NOT_OPTIONS}
        if unknown := sorted(set(setting) - known):
            raise RecipeError(f"unknown key {unknown[0]!r}", where=f"recover: site {SITE!r}")
        given: dict[str, Any] = setting
        return replace(Recover(keep=self.keep) if setting else replace(self, sites={}), **given), marks

    def _done(self, done: Recovered) -> Setting:
        """What does exactly this again: every option that is not its default, the losses as they were resolved."""
        plain = {option.name: getattr(self, option.name) for option in fields(self) if option.name not in _NOT_OPTIONS}
        default = Recover()
        chosen = {name: value for name, value in plain.items() if value != getattr(default, name)}
        marks = {"marks": done.marks} if done.marks else {}
        return {**chosen, "budget": self.budget, "losses": done.losses, **marks}


def _summary(done: Recovered) -> str:
    rolled = f", {done.rollbacks} times back to the best" if done.rollbacks else ""
    steps = f"{done.steps} steps at a peak rate of {done.rate:.2g}{rolled}"
    return (
        f"held-out loss {done.before:.4g} to {done.after:.4g} ({done.losses}), agreement with the original "
        f"{done.metric[0]:.4f} to {done.metric[1]:.4f}, best after {done.best_step} of {steps}"
    )


def _no_better(done: Recovered) -> str:
    if not done.steps:
        return "the budget is too short for one step: the weights stay as they were"
    return f"{done.steps} steps did not lower the held-out loss below {done.before:.4g}: the weights stay as they were"
