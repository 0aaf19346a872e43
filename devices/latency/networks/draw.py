"""Random choices of a network's sizes: widths, maps, activations, as people use them and as compression leaves them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

Drawn = tuple[nn.Module, tuple[Tensor, ...]]
"""A module and one batch of inputs for it."""
T = TypeVar("T")
_ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU, nn.ReLU, nn.ReLU, nn.ReLU6, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh
)  # fmt: skip

__all__ = ["Draw", "Drawn"]


class Draw:
    """Random choices of a network's sizes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.multiple = self.random.choice(
            (32, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 1, 1, 1, 1)
        )  # widths of one network are of one kind

    def pick(self, *choices: T) -> T:
        return self.random.choice(choices)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def between(self, low: float, high: float) -> int:
        """A whole number, evenly spread over its logarithm."""
        return round(math.exp(self.random.uniform(math.log(low), math.log(high))))

    def width(self, low: float, high: float) -> int:
        """A number of channels."""
        return max(self.multiple, round(self.between(low, high) / self.multiple) * self.multiple)

    def activation(self) -> Callable[[], nn.Module]:
        return self.random.choice(_ACTIVATIONS)

    def side(self, width: int) -> int:
        """Of a map that goes with so many channels: narrow maps are large ones."""
        typical = 224 * 24 / max(width, 12)
        return min(max(3, round(typical * math.exp(self.random.uniform(-0.7, 0.7)))), 112)
