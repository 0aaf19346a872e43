"""What a training wants besides the teacher's outputs: a term on the trained tensors themselves.

L + P(w, t)        t: the share of the budget that is behind; held-out losses are judged with P(w, 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

__all__ = ["Penalty"]


class Penalty(Protocol):
    """`repr` tells one from another, so that a run can go on."""

    def __call__(self, tensors: Mapping[str, Tensor], fraction: float) -> Tensor:
        """One number, differentiable; `tensors` are the student's by name."""
