"""Several networks in one that is trained: stored numbers that say which of them it is, another in every step.

    w ← w − η ∇ L(student(x; w, v_step))        judged by the mean of L over some of the v

(Cai et al., 2020, Once-for-all, arXiv:1908.09791.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Variants"]


class Variants(Protocol):
    """Values of stored numbers by name. What they are depends on nothing but the step, so that a run can go on; `repr`
    tells one from another."""

    def at(self, step: int) -> Mapping[str, Tensor]:
        """Which network learns in a step."""

    def judged(self) -> Sequence[Mapping[str, Tensor]]:
        """Those whose mean held-out loss decides; the same each time, one at least."""
