"""A student and its children, which are rows of its tensors: who learns in a step.

    sandwich    the student, the smallest child, two others drawn     the children from the student's own outputs
    nested      one of all, drawn                                     from the teacher
    sorted      the student and every child, the mean of their losses from the teacher

(Yu et al., 2020, BigNAS, arXiv:2003.11142; Devvrit et al., 2023, MatFormer, arXiv:2310.07707; Kavehzadeh et al., 2023,
Sorted LLaMA, arXiv:2309.08968.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compressor.graph.entries import Entry

__all__ = ["Family", "How"]

How = Literal["sandwich", "nested", "sorted"]
DRAWN = 2  # children of a sandwich besides the smallest


@dataclass(frozen=True)
class Family:
    """Children that learn with the student, the largest first; the first `named` of them are judged.

    `inplace`: in a sandwich the children learn from what the student says in the same step, else from the teacher.
    """

    children: tuple[Entry, ...]
    named: int
    how: How = "sandwich"
    inplace: bool = True
    seed: int = 0

    def at(self, step: int) -> Sequence[int]:
        """Who learns in a step: 0 is the student, n its n-th child. It depends on nothing but the step."""
        draw = random.Random(f"{self.seed} {step}")
        if self.how == "sorted":
            return range(self.named + 1)
        if self.how == "nested":
            return [draw.randint(0, self.named)]
        others = [number for number in range(1, len(self.children) + 1) if number != self.named]
        return [0, self.named, *sorted(draw.sample(others, min(DRAWN, len(others))))]

    @property
    def own_lessons(self) -> bool:
        """Whether the children learn from the student."""
        return self.how == "sandwich" and self.inplace

    def __repr__(self) -> str:
        """What decides how a run goes, for its checkpoint."""
        return f"{self.how} {self.inplace} {self.seed} {self.named} {[child.digest() for child in self.children]}"
