"""A latency model that counts kernels, for what merges layers, and a network whose layers merge without activations."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Estimate, Roofline
from compressor.graph.program import Program
from compressor.targets.loader import load_target

__all__ = ["Mergeable", "PerKernel", "context", "images", "trained"]


class PerKernel(Roofline):
    """Predicts a millisecond a kernel, and `each` more for a million multiply–accumulates."""

    def __init__(self, each: float = 0.0) -> None:
        self.each = each

    def predict(self, program: Program, target: Any, **more: Any) -> Estimate:
        found = super().predict(program, target, **more)
        return replace(found, latency_ms=len(found.kernels) + self.each * found.macs / 1e6)


class Residual(nn.Module):
    """1×1, depthwise, 1×1, with batch norms and ReLU6, and its input added."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.depthwise, self.norm2 = nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide)
        self.project, self.norm3 = nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.expand(x)))
        return x + self.norm3(self.project(self.act(self.norm2(self.depthwise(y)))))


class Gated(nn.Module):
    """Squeeze and excite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.excite = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Mergeable(nn.Module):
    """[N, 1, 8, 8] to four scores: two inverted residuals, a gate, and a feed-forward block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.one, self.gate, self.two = Residual(8, 16), Gated(8), Residual(8, 16)
        self.up, self.down, self.head = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.gate(self.one(torch.relu(self.norm(self.stem(x))))))
        x = x.mean((2, 3))
        return self.head(x + self.down(nn.functional.gelu(self.up(x))))


def images(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of 16 images with two bars, and which of four pairs of places they are in."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        one, two = torch.randint(0, 2, (2, 16), generator=generator)
        x = 0.5 * torch.randn(16, 1, 8, 8, generator=generator)
        rows = torch.arange(16)
        x[rows, 0, 2 + 3 * one] += 1.0
        x[rows, 0, :, 2 + 3 * two] += 1.0
        found.append((x, one ^ two + 2 * one))
    return found


@functools.cache
def trained() -> Program:
    """`Mergeable` after a little training; not to be written into."""
    torch.manual_seed(0)
    model = Mergeable()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for x, labels in images(120, 0):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return capture(model.eval(), (images(1, 1)[0][0][:2],)).program


def context(**more: Any) -> Context:
    """A target for latency, and the model that counts kernels."""
    return Context(load_target("x86-64"), latency=PerKernel(), synthetic=False, **more)
