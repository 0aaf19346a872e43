"""The best state so far, and the way back to it.

better    held-out loss < best
diverged  the loss is not finite, or the held-out loss > 2 · best two judgements in a row   →  best state, rate / 2
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

__all__ = ["Keeper", "Verdict"]

FACTOR = 2.0
PATIENCE = 2
ROLLBACKS = 6  # after these a rate of 1/64 did not help, either: training stops

Verdict = Literal["better", "worse", "diverged", "hopeless"]


@dataclass
class Keeper:
    """Remembers the state with the least held-out loss; `scale` is what the learning rate is multiplied with by now."""

    loss: float
    state: Mapping[str, Tensor]
    step: int = 0
    scale: float = 1.0
    bad: int = 0
    rollbacks: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)  # step, training loss, held-out loss

    def judge(self, step: int, training: float, held: float, *, ramping: bool = False) -> Verdict:
        """What a held-out loss means. "better" is for the caller to `keep`, "diverged" to roll back.

        While `ramping` what is judged is not yet what is trained, and only what is not finite has diverged.
        """
        self.history.append((step, training, held))
        if held < self.loss:
            self.bad = 0
            return "better"
        if not math.isfinite(held) or not math.isfinite(training):
            return self.diverged()
        self.bad = self.bad + 1 if held > FACTOR * self.loss and not ramping else 0
        return self.diverged() if self.bad >= PATIENCE else "worse"

    def diverged(self) -> Verdict:
        """Halve the rate."""
        self.bad, self.scale, self.rollbacks = 0, self.scale / 2, self.rollbacks + 1
        return "diverged" if self.rollbacks <= ROLLBACKS else "hopeless"

    def keep(self, step: int, held: float, state: Mapping[str, Tensor]) -> None:
        self.step, self.loss, self.state = step, held, state

    def saved(self) -> dict[str, Any]:
        """What a checkpoint needs to know of it."""
        plain = {name: getattr(self, name) for name in ("loss", "step", "scale", "bad", "rollbacks")}
        return {**plain, "state": dict(self.state), "history": [list(entry) for entry in self.history]}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Keeper:
        history = [(int(step), float(a), float(b)) for step, a, b in saved["history"]]
        return cls(**{**saved, "history": history})
