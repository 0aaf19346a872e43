"""How a quantized program is trained: the options of `quantize` that say so, as a recipe's `program` site keeps them.

{train = "600steps", losses = "output+hidden", ranges = "learned", norm = true, rate = 0.002}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from compressor.errors import RecipeError
from compressor.passes.quantizing.training.choices import parse_budgets, parse_choices
from compressor.passes.recover import lesson

__all__ = ["RANGES", "SITE", "Lesson", "Ranges"]

SITE = lesson.SITE
_ALONE = "Leave out norm and ranges, or budgets."
Ranges = Literal["learned", "settle", "fixed"]
RANGES: tuple[Ranges, ...] = ("learned", "settle", "fixed")


@dataclass(frozen=True)
class Lesson(lesson.Lesson):
    """A budget, and what is trained within it. `marks` replay a time budget.

    ranges: integer activations' ranges are learned, or settle as running statistics and freeze, or stay as calibrated.
    norm: a layer norm without parameters before every linear layer in blocks, where there is none.
    budgets: in bits a weight, where one training is to serve several (`once.py`), and the layers' formats in it.
    """

    where: ClassVar[str] = "quantize"
    ranges: Ranges = "learned"
    norm: bool = False
    budgets: str = ""
    choices: str = ""

    def __post_init__(self) -> None:
        """Raises RecipeError for what makes no sense."""
        super().__post_init__()
        if self.ranges not in RANGES:
            raise RecipeError(f"ranges is {self.ranges!r}, not one of {', '.join(RANGES)}", where="quantize")
        if self.budgets:
            parse_budgets(self.budgets)
            parse_choices(self.choices)
            if self.norm or self.ranges != RANGES[0]:
                raise RecipeError(
                    "training for several budgets changes weights alone", where="quantize", way_out=_ALONE
                )

    @classmethod
    def kinds(cls) -> dict[str, tuple[type, ...]]:
        return {**super().kinds(), "norm": (bool,)}
