"""The time that planning may take (`--time`): weighing has two thirds of it, probes and plans that are built the rest.

What was measured is kept, so that the next run begins where this one's time was over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["WEIGHING", "Clock"]

WEIGHING = 2 / 3


@dataclass
class Clock:
    """Runs from when it is made; without `seconds` it is never over."""

    seconds: float | None = None
    begun: float = field(default_factory=time.monotonic)

    def over(self, share: float = 1.0) -> bool:
        """Whether that share of the time has passed."""
        return self.seconds is not None and time.monotonic() - self.begun >= share * self.seconds
