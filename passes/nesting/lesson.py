"""How an elastic network is trained: the options of `elastic` that say so, as a recipe's `program` site keeps them.

{train = "600steps", names = "0.5/0.25", how = "nested", losses = "output"}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from compressor.errors import RecipeError
from compressor.passes.nesting.choice import names_of
from compressor.passes.pruning.scores import Score
from compressor.passes.recover import lesson
from compressor.passes.recover.family import How

__all__ = ["NONE", "SITE", "Lesson"]

SITE = lesson.SITE
NONE = "none"


@dataclass(frozen=True)
class Lesson(lesson.Lesson):
    """A budget (or none), and what is trained within it. `marks` replay a time budget.

    names: the entries'.   how, inplace, mixes: `elastic`'s.   score, samples: what the units' order was made of.
    """

    where: ClassVar[str] = "elastic"
    names: str = ""
    how: How = "sandwich"
    inplace: bool = True
    mixes: int = 4
    score: Score = "auto"
    samples: int = 128

    def __post_init__(self) -> None:
        """Raises RecipeError for what makes no sense."""
        if self.train != NONE:
            super().__post_init__()
        if self.names:
            names_of(self.names, self.where)
        for name, value, known in (("how", self.how, get_args(How)), ("score", self.score, get_args(Score))):
            if value not in known:
                raise RecipeError(f"{name} is {value!r}, not one of {', '.join(known)}", where=self.where)
        if self.mixes < 0 or self.samples < 1:
            raise RecipeError(
                f"mixes is {self.mixes}, samples {self.samples}", where=self.where, way_out="Write 4 and 128."
            )

    @classmethod
    def kinds(cls) -> dict[str, tuple[type, ...]]:
        return {**super().kinds(), "inplace": (bool,), "mixes": (int,), "samples": (int,)}
