"""How the sizes of whole models are drawn. The order of draws is what a seed stands for: keep it."""

from __future__ import annotations

import random
from typing import Any

from torch import nn

__all__ = ["Built", "side_of", "wide_of"]

Built = tuple[nn.Module, Any]


def wide_of(draw: random.Random, width: float, low: float = 0.5, high: float = 1.3, multiple: int = 8) -> int:
    return max(multiple, round(width * draw.uniform(low, high) / multiple) * multiple)


def side_of(draw: random.Random, *sides: int) -> int:
    return draw.choice(sides or (128, 160, 192, 224))
