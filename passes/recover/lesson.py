"""How a pass trains what it made, as a recipe's `program` site keeps it, and what it takes back from the training.

    {train = "600steps", losses = "output+hidden", rate = 0.002}

A pass that trains makes a student with something besides what its result will hold (rounding, a dense path), lets the
engine train it, and carries the weights over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Setting
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.passes.recover.budget import parse_budget
from compressor.passes.recover.engine import Recovered
from compressor.passes.recover.objective import parse_losses
from compressor.passes.recover.pace import check_marks

__all__ = ["SITE", "Lesson", "cannot_learn", "told", "with_weights"]

SITE = "program"
_NO_DATA = "not trained: no data to train on: give more samples in --data than are evaluated on, or arrays under train/"


@dataclass(frozen=True)
class Lesson:
    """A budget, and what is trained within it. `marks` replay a time budget."""

    where: ClassVar[str] = "recover"  # the pass that trains
    train: str
    losses: str = "auto"
    rate: float | None = None
    marks: str = ""

    def __post_init__(self) -> None:
        """Raises RecipeError for what makes no sense."""
        parse_budget(self.train, f"{self.where}: train")
        parse_losses(self.losses)
        if self.rate is not None and not self.rate > 0:
            raise RecipeError(f"rate is {self.rate}; it is a number above 0", where=self.where)
        try:
            check_marks(self.marks)
        except ValueError:
            raise RecipeError(f"marks are {self.marks!r}, not rising steps", where=self.where) from None

    @classmethod
    def read(cls, sites: Mapping[str, Setting]) -> Self | None:
        """What a recipe's sites say, or None. Raises RecipeError for a key that is none of these."""
        setting = sites.get(SITE)
        if setting is None:
            return None
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(setting) - set(known)):
            raise RecipeError(
                f"unknown key {unknown[0]!r}",
                where=f"{cls.where}: site {SITE!r}",
                way_out=f"Known: {', '.join(known)}.",
            )
        kinds = {field.name: (str,) for field in fields(cls)} | cls.kinds()
        given: dict[str, Any] = {"train": "", **setting}
        for name, value in given.items():
            if not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in kinds[name]):
                raise RecipeError(f"{name} is {value!r}", where=f"{cls.where}: site {SITE!r}")
        return cls(**given)

    @classmethod
    def kinds(cls) -> dict[str, tuple[type, ...]]:
        """The types of the options that are not text."""
        return {"rate": (int, float)}

    def setting(self, losses: str, marks: str) -> Setting:
        """What does exactly this again."""
        done = replace(self, losses=losses, marks=marks)
        default = type(self)(self.train)
        chosen = {field.name: getattr(done, field.name) for field in fields(self)}
        return {name: v for name, v in chosen.items() if name == "train" or v != getattr(default, name)}


def cannot_learn(context: Context) -> str:
    """Why there is nothing to train with; empty where there is."""
    if not len(context.training):
        return _NO_DATA
    return "" if context.teacher is not None else "not trained: there is no original to learn from"


def with_weights(program: Program, trained: Program) -> Program:
    """The program with what training made of those of its tensors that the trained one has; ties stay ties."""
    copy, tensors = begin(program), trained.tensors()
    for name, old in program.tensors().items():
        if name in tensors and tensors[name] is not old:
            set_tensor(copy, name, tensors[name])
    return finish(copy)


def told(done: Recovered, what: str) -> str:
    """What training was worth, in a sentence for the user; `what` was judged."""
    return (
        f"trained for {done.steps} steps ({done.losses}): held-out loss of {what} {done.before:.4g} to "
        f"{done.after:.4g}, agreement with the original {done.metric[0]:.4f} to {done.metric[1]:.4f}, best after "
        f"{done.best_step}"
    )
