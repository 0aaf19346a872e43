"""Which task is searched next: the one whose time in the network is likely to fall most.

    gain_i = w_i · (α · (best_i(n − 3) − best_i(n)) / 3  +  (1 − α) · best_i(n) / n)          α = 0.2

w_i is how often a run calls the task, best_i(n) its least seconds after n rounds, the default schedule's before the
first: what it has gained lately, and what it might still gain, which shrinks with each round. After the gradient of
Ansor's task scheduler (Zheng et al. 2020, arXiv:2006.06762, section 6), whose MetaSchedule's is (Shao et al. 2022,
arXiv:2205.13603). A task that was never searched may gain all that it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["History", "next_task"]

_ALPHA = 0.2
_WINDOW = 3


@dataclass
class History:
    """A task's least seconds: the default schedule's, then after each round. `over` where there is nothing to try."""

    weight: int
    default: float
    bests: list[float] = field(default_factory=list)
    over: bool = False

    @property
    def best(self) -> float:
        """So far, the default schedule's included."""
        return min([self.default, *self.bests[-1:]])

    def add(self, seconds: float) -> None:
        """A round ended; `seconds` is the least of it, infinite where all of it failed."""
        self.bests.append(min(self.best, seconds))

    @property
    def gain(self) -> float:
        """Seconds a run that another round is likely to gain."""
        rounds = len(self.bests)
        if not rounds:
            return self.weight * self.default
        steps = [self.default, *self.bests]
        window = min(_WINDOW, rounds)
        lately = (steps[-1 - window] - steps[-1]) / window
        return self.weight * (_ALPHA * lately + (1 - _ALPHA) * self.best / rounds)


def next_task(histories: Sequence[History]) -> int | None:
    """The position of the task to search next; None where all are over."""
    open_ones = [index for index, history in enumerate(histories) if not history.over]
    return max(open_ones, key=lambda index: histories[index].gain, default=None)
