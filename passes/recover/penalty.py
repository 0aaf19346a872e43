"""A loss of the parameters themselves, beside that of the outputs: what gates cost, and that they make up their minds.

L = L(student(x), teacher(x)) + P(w, t)        t: the share of the budget that is behind
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

__all__ = ["Penalty"]


class Penalty(Protocol):
    """Judged samples count it at t = 1, so that states are compared by what is wanted in the end. `repr` tells one from
    another."""

    def __call__(self, parameters: Mapping[str, Tensor], fraction: float) -> Tensor:
        """A number with a gradient. `parameters` are those that are trained, by name."""
