"""How far recovery is: the share of its budget that is behind it, and the learning rate there.

steps, epochs:  f = step / total
time:           f = ⌊20 · elapsed / budget⌋ / 20     the steps at which f rose are kept: they replay the run
rate(f)         = warmup · (ε + (1 − ε) · (1 + cos π f) / 2)      ε = 0.02
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from compressor.passes.recover.budget import Budget

__all__ = ["Pace", "check_marks", "rate"]

SEGMENTS = 20
FLOOR = 0.02
WARMUP = 10  # steps, or a twentieth of them where they are few


class Pace:
    """Counts a budget down. `clock` gives seconds; `spent` are those that an interrupted run had used already.

    With `marks` (from an earlier run's `written`) steps take the place of time.
    """

    def __init__(self, budget: Budget, per_epoch: int, clock: Callable[[], float], marks: str = "") -> None:
        self.budget, self.clock, self.spent = budget, clock, 0.0
        self.total = budget.steps(per_epoch)
        self.marks: list[int] = []
        self.replayed = [int(mark) for mark in marks.split()] if self.total is None else []
        self._began = self._last = clock()
        self._longest = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds used so far, those before an interruption included."""
        return self.spent + self.clock() - self._began

    def at(self, step: int, reserve: float = 0.0) -> float | None:
        """The share of the budget behind `step`, or None where the step does not fit any more.

        `reserve`: seconds that the end of the run will take. A step is expected to take as long as the longest so far.
        """
        if self.total is not None:
            return step / self.total if step < self.total else None
        if self.replayed:
            *marks, stop = self.replayed
            return sum(mark <= step for mark in marks) / SEGMENTS if step < stop else None
        if self.elapsed + self._longest + reserve >= self.budget.amount:
            return None
        segment = min(SEGMENTS - 1, int(SEGMENTS * self.elapsed / self.budget.amount))
        self.marks += [step] * (segment - len(self.marks))
        return segment / SEGMENTS

    def begin(self) -> None:
        """A step begins."""
        self._last = self.clock()

    def end(self) -> None:
        """The step is over."""
        self._longest = max(self._longest, self.clock() - self._last)

    def written(self, steps: int) -> str:
        """What replays these steps without a clock: where the rate changed, and where it ended. Empty where steps did
        the counting."""
        if self.total is not None:
            return ""
        return " ".join(map(str, self.replayed or [*self.marks, steps]))


def rate(fraction: float, step: int, total: int | None) -> float:
    """The share of the peak learning rate at a step: a linear rise, then half a cosine."""
    warmup = WARMUP if total is None else max(1, min(WARMUP, total // 20))
    return min(1.0, (step + 1) / warmup) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * fraction)) / 2)


def check_marks(text: str) -> Sequence[int]:
    """The steps that a recipe replays. Raises ValueError where they are no rising whole numbers."""
    marks = [int(mark) for mark in text.split()]
    if marks != sorted(marks) or len(marks) > SEGMENTS or any(mark < 0 for mark in marks):
        raise ValueError(text)
    return marks
