"""A small residual network for 8×8 grey digits, values in [0, 1]: about 80,000 parameters.

It has what the passes act on: batch norms behind plain, depthwise and pointwise convolutions, a residual sum on
either side of a downsampling, dropout, and a linear head.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DigitNet", "build"]


class DigitNet(nn.Module):
    """Image [N, 1, 8, 8] → scores of the ten digits [N, 10]."""

    def __init__(self, width: int = 32, wide: int = 56) -> None:
        super().__init__()
        self.stem = _conv(1, width, 3)
        self.first = Residual(width)
        self.depthwise = _conv(width, width, 3, stride=2, groups=width)
        self.pointwise = _conv(width, wide, 1)
        self.second = Residual(wide)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(wide, 10))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.second(self.pointwise(self.depthwise(self.first(self.stem(x))))))
        return scores


class Residual(nn.Module):
    """x + two 3×3 convolutions of x, then a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = _conv(channels, channels, 3)
        self.outer = _conv(channels, channels, 3, activation=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(x + self.outer(self.inner(x)))
        return result


def build() -> DigitNet:
    """The factory for `--model model.py:build`, which `state_dict.pt` needs."""
    return DigitNet()


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if activation else nn.Sequential(*layers)
