"""How a quantized program is trained: the options of `quantize` that say so, as a recipe's `program` site keeps them.

{train = "600steps", losses = "output+hidden", ranges = "learned", norm = true, rate = 0.002}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from compressor.errors import RecipeError
from compressor.graph.contract import Setting
from compressor.passes.quantizing.training.choices import parse_budgets, parse_choices
from compressor.passes.recover import parse_budget
from compressor.passes.recover.objective import parse_losses
from compressor.passes.recover.pace import check_marks

__all__ = ["RANGES", "SITE", "Lesson", "Ranges"]

SITE = "program"
_ALONE = "Leave out norm and ranges, or budgets."
Ranges = Literal["learned", "settle", "fixed"]
RANGES: tuple[Ranges, ...] = ("learned", "settle", "fixed")


@dataclass(frozen=True)
class Lesson:
    """A budget, and what is trained within it. `marks` replay a time budget.

    ranges: integer activations' ranges are learned, or settle as running statistics and freeze, or stay as calibrated.
    norm: a layer norm without parameters before every linear layer in blocks, where there is none.
    budgets: in bits a weight, where one training is to serve several (`once.py`), and the layers' formats in it.
    """

    train: str
    losses: str = "auto"
    rate: float | None = None
    ranges: Ranges = "learned"
    norm: bool = False
    marks: str = ""
    budgets: str = ""
    choices: str = ""

    def __post_init__(self) -> None:
        """Raises RecipeError for what makes no sense."""
        parse_budget(self.train, "quantize: train")
        parse_losses(self.losses)
        if self.rate is not None and not self.rate > 0:
            raise RecipeError(f"rate is {self.rate}; it is a number above 0", where="quantize")
        if self.ranges not in RANGES:
            raise RecipeError(f"ranges is {self.ranges!r}, not one of {', '.join(RANGES)}", where="quantize")
        try:
            check_marks(self.marks)
        except ValueError:
            raise RecipeError(f"marks are {self.marks!r}, not rising steps", where="quantize") from None
        if self.budgets:
            parse_budgets(self.budgets)
            parse_choices(self.choices)
            if self.norm or self.ranges != RANGES[0]:
                raise RecipeError(
                    "training for several budgets changes weights alone", where="quantize", way_out=_ALONE
                )

    @classmethod
    def read(cls, sites: Mapping[str, Setting]) -> Lesson | None:
        """What a recipe's sites say, or None. Raises RecipeError for a key that is none of these."""
        setting = sites.get(SITE)
        if setting is None:
            return None
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(setting) - set(known)):
            raise RecipeError(
                f"unknown key {unknown[0]!r}", where=f"quantize: site {SITE!r}", way_out=f"Known: {', '.join(known)}."
            )
        given: dict[str, Any] = {"train": "", **setting}
        for name, value in given.items():
            kind = {"rate": (int, float), "norm": (bool,)}.get(name, (str,))
            if not isinstance(value, kind) or (name == "rate" and isinstance(value, bool)):
                raise RecipeError(f"{name} is {value!r}", where=f"quantize: site {SITE!r}")
        return cls(**given)

    def setting(self, losses: str, marks: str) -> Setting:
        """What does exactly this again."""
        done = replace(self, losses=losses, marks=marks)
        default = Lesson(self.train)
        chosen = {f.name: getattr(done, f.name) for f in fields(Lesson)}
        return {name: v for name, v in chosen.items() if name == "train" or v != getattr(default, name)}
