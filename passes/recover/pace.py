"""How far recovery is: the share of its budget that is behind it, the learning rate there, and when to judge.

steps, epochs:  f = step / total
time:           f = ⌊20 · elapsed / budget⌋ / 20     the steps at which f rose are kept: they replay the run
rate(f)         = warmup · (ε + (1 − ε) · (1 + cos π f) / 2)      ε = 0.02
judged          as often as takes a tenth of the work of training, 4 times at least and 20 at most
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from compressor.passes.recover.budget import Budget

__all__ = ["Pace", "check_marks", "rate"]

SEGMENTS = 20
FLOOR = 0.02
WARMUP = 10  # steps, or a twentieth of them where they are few
JUDGING = 0.1  # of the work of training
FEWEST = 4  # judgements: what diverges is seen in time
PASSES = 4  # forward passes that a sample's training is worth: the teacher's, the student's, and two for its gradients


class Pace:
    """Counts a budget down. `clock` gives seconds; `spent` are those that an interrupted run had used already.

    With `marks` (from an earlier run's `written`) steps take the place of time. `every`: judged after so many steps,
    or, where time decides, segments.
    """

    def __init__(self, budget: Budget, per_epoch: int, clock: Callable[[], float], marks: str = "") -> None:
        self.budget, self.clock, self.spent = budget, clock, 0.0
        self.total = budget.steps(per_epoch)
        self.marks: list[int] = []
        self.replayed, self.every = _read(marks) if self.total is None else ([], 1)
        self.segment = 0  # of the fraction that all processes agreed on when it was last asked whether to judge
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

    def spread(self, seconds: float, batches: float) -> None:
        """Decide how often to judge: once takes so long, or as long as so many batches' forward pass."""
        if self.total is not None:
            self.every = max(1, int(self.total / _times(JUDGING * PASSES * self.total / batches)))
        elif not self.replayed:
            times = _times(JUDGING * self.budget.amount / max(seconds, 1e-9))
            self.every = math.ceil(SEGMENTS / times)

    def due(self, step: int, fraction: float) -> bool:
        """Whether to judge after a step that was taken at this share of the budget."""
        if self.total is not None:
            return step % self.every == 0
        before, self.segment = self.segment, round(fraction * SEGMENTS)
        return self.segment // self.every != before // self.every

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
        return " ".join(map(str, [*(self.replayed or [*self.marks, steps]), f"/{self.every}"]))


def rate(fraction: float, step: int, total: int | None) -> float:
    """The share of the peak learning rate at a step: a linear rise, then half a cosine."""
    warmup = WARMUP if total is None else max(1, min(WARMUP, total // 20))
    return min(1.0, (step + 1) / warmup) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * fraction)) / 2)


def check_marks(text: str) -> Sequence[int]:
    """The steps that a recipe replays. Raises ValueError where they are no rising whole numbers."""
    marks, every = _read(text)
    if marks != sorted(marks) or len(marks) > SEGMENTS or any(mark < 0 for mark in marks) or every < 1:
        raise ValueError(text)
    return marks


def _read(text: str) -> tuple[list[int], int]:
    """Marks as they are written, and after how many segments to judge (/5; every one, where that is missing)."""
    marks, _, every = text.partition("/")
    return [int(mark) for mark in marks.split()], int(every or 1)


def _times(allowed: float) -> float:
    return min(max(allowed, FEWEST), SEGMENTS)
