"""MobileNetV2 for 28 pixels: inverted residuals with linear bottlenecks (Sandler et al., arXiv 1801.04381)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["MobileNetV2"]

# Expansion, output channels, blocks, stride of the first: 28 to 14 pixels in the stem, to 7 and 4 here.
STAGES = ((1, 16, 1, 1), (3, 24, 2, 1), (4, 40, 3, 2), (4, 64, 3, 1), (4, 96, 2, 2))


def conv(inside: int, out: int, size: int, stride: int = 1, groups: int = 1, act: bool = True) -> list[nn.Module]:
    """Convolution, batch norm, and ReLU6 unless it is a linear bottleneck."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(out)
    ]  # fmt: skip
    return [*layers, nn.ReLU6()] if act else layers


class InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project; the input is added where shapes allow."""

    def __init__(self, inside: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inside * expansion
        expand = conv(inside, hidden, 1) if expansion != 1 else []
        self.body = nn.Sequential(
            *expand, *conv(hidden, hidden, 3, stride, groups=hidden), *conv(hidden, out, 1, act=False)
        )
        self.adds = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class MobileNetV2(nn.Module):
    """Logits of [N, 1, 28, 28] images."""

    def __init__(self, stem: int = 32, last: int = 320, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, stem, 3, stride=2))
        inside, blocks = stem, []
        for expansion, out, count, stride in STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(inside, out, expansion, stride if index == 0 else 1))
                inside = out
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*conv(inside, last, 1))
        self.head = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.blocks(self.stem(x))).mean((2, 3)))
