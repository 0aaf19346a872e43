"""The trained digits network, damaged on purpose, and its data: what recovery is tested on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.load import load_model, to_program

__all__ = ["Block", "Clock", "Listener", "accuracy", "damaged", "digits_batches", "digits_program", "vit"]

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"


def digits_program() -> Program:
    return to_program(load_model(DIGITS / "model.pt"), synthetic=True).program


def digits_batches(size: int = 32, *, labels: bool = False) -> list[Batch]:
    """The 256 calibration samples; `labels` are what a perfect network would say, so none of the test set."""
    images = _arrays()["calibration/x"]
    batches: list[Batch] = [{"x": part} for part in images.split(size)]
    if not labels:
        return batches
    best = _labels().clone().split(size)
    return [{**batch, "labels": each} for batch, each in zip(batches, best, strict=True)]


def accuracy(program: Program) -> float:
    """On the 540 test samples."""
    arrays = _arrays()
    [scores] = program.run([arrays["x"]]).values()
    return float((scores.argmax(1) == arrays["labels"]).float().mean())


def damaged(program: Program, share: float = 0.6) -> Program:
    """The program with a random share of every inner convolution's weights zeroed."""
    copy, generator = edit.begin(program), torch.Generator().manual_seed(0)
    for name, tensor in program.tensors().items():
        if tensor.dim() == 4 and tensor.shape[1] > 1:
            edit.set_tensor(copy, name, tensor * (torch.rand(tensor.shape, generator=generator) > share))
    return edit.finish(copy)


@functools.cache
def _labels() -> Tensor:
    [scores] = digits_program().run({"x": _arrays()["calibration/x"]}).values()
    return scores.argmax(1)


def _arrays() -> dict[str, Tensor]:
    with np.load(DIGITS / "data.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


class Block(nn.Module):
    """Attention and two layers, each with a residual sum; widths as given."""

    def __init__(self, width: int, heads: int = 2, inner: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.ffn = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(self.norm(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return x + self.ffn(x)


def vit(depth: int, width: int = 12, seed: int = 0) -> Program:
    """A small transformer on vectors [batch, length, 5], classes of each position out."""
    torch.manual_seed(seed)
    blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
    network = nn.Sequential(nn.Linear(5, width), blocks, nn.LayerNorm(width), nn.Linear(width, 7))
    return capture(network, (torch.randn(2, 6, 5),)).program


class Clock:
    """Seconds that pass by a fixed amount with every look at it."""

    def __init__(self, tick: float) -> None:
        self.tick, self.now = tick, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


class Listener(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.told: list[tuple[float, dict[str, float]]] = []
        self.callers: set[str] = set()

    def say(self, text: str) -> None:
        self.said.append(text)

    def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
        self.told.append((done, dict(figures)))
        self.callers.add(what)


class Stopping(Progress):
    """Interrupts the work when it has told its figures so often."""

    def __init__(self, after: int) -> None:
        self.left = after

    def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
