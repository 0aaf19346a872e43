"""Small networks with blocks that can share weights: a trained byte-level GPT of four blocks, and a residual CNN."""

from __future__ import annotations

import functools

import torch
from boards import board
from tiny import TinyGpt, text_batches, trained_gpt
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program

__all__ = ["context", "copied", "deep_gpt", "residual_cnn"]


@functools.cache
def deep_gpt(steps: int = 24) -> Program:
    """Four blocks, trained for seconds."""
    torch.manual_seed(0)
    return trained_gpt(TinyGpt(depth=4), torch.cat([batch["ids"] for batch in text_batches(12)]), steps)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class ResidualCnn(nn.Module):
    def __init__(self, channels: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.blocks = nn.Sequential(*(Residual(channels) for _ in range(depth)))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return result


@functools.cache
def residual_cnn() -> Program:
    """Four residual blocks of random weights; their batch norms have seen data."""
    torch.manual_seed(0)
    model = ResidualCnn()
    for _ in range(3):
        model(torch.randn(8, 3, 16, 16))
    return capture(model.eval(), (torch.randn(2, 3, 16, 16),)).program


def context(**changes: object) -> Context:
    """The round board, the roofline, and text to calibrate on."""
    fields = {"latency": Roofline(), "calibration": text_batches(2, 8), "synthetic": False, **changes}
    return Context(board(), **fields)  # type: ignore[arg-type]


def copied(program: Program) -> Program:
    """To look for blocks in."""
    return functional_copy(program)[0]
