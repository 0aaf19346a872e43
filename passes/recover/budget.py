"""How long recovery may take: `5min`, `300steps` or `3epochs`.

90s | 5min | 1h     wall time, everything included
300steps            updates of the weights
3epochs             passes over the training data
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from compressor.errors import RecipeError

__all__ = ["Budget", "parse_budget"]

_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
_COUNTED: dict[str, Literal["steps", "epochs"]] = {
    "step": "steps", "steps": "steps", "epoch": "epochs", "epochs": "epochs",
}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """An amount of seconds, steps or epochs. `text` is how it was written."""

    amount: float
    unit: Literal["seconds", "steps", "epochs"]
    text: str

    def steps(self, per_epoch: int) -> int | None:
        """The number of steps it allows, at least one; None where time decides."""
        if self.unit == "seconds":
            return None
        return max(1, round(self.amount * (per_epoch if self.unit == "epochs" else 1)))


def parse_budget(text: str, where: str = "recover") -> Budget:
    """Reads a budget. Raises RecipeError for what is none, and for nothing at all (0steps)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)", text.strip())
    amount = float(match[1]) if match else 0.0
    if match and 0 < amount < float("inf"):
        if match[2] in _SECONDS:
            return Budget(amount * _SECONDS[match[2]], "seconds", text.strip())
        if match[2] in _COUNTED and (_COUNTED[match[2]] == "epochs" or amount == int(amount)):
            return Budget(amount, _COUNTED[match[2]], text.strip())
    raise RecipeError(
        f"{text!r} is not a budget", where=where, way_out="Write a time (5min, 90s, 1h), 300steps or 3epochs."
    )
