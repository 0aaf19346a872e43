"""A small network of linear layers, trained for a second on the digits example: some of its layers matter more."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program

__all__ = ["digits", "linear_net", "net_batches"]

DATA = Path(__file__).resolve().parents[1] / "examples" / "digits" / "data.npz"


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Calibration rows of 64 pixels, and evaluation rows with their labels."""
    with np.load(DATA) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    return arrays["calibration/x"].flatten(1), arrays["x"].flatten(1), arrays["labels"]


@functools.cache
def linear_net() -> Program:
    """64 pixels → ten class scores, through four hidden layers and a residual one."""
    torch.manual_seed(0)
    first, second, head = nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)
    up, down = nn.Linear(128, 256), nn.Linear(256, 128)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.up, self.down, self.head = first, second, up, down, head

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.second(functional.relu(self.first(x))))
            scores: Tensor = self.head(x + self.down(functional.gelu(self.up(x))))
            return scores

    net, (_, images, labels) = Net(), digits()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(150):
        rows = torch.randint(len(images), (64,))
        loss = functional.cross_entropy(net(images[rows]), labels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return capture(net.eval(), (images[:2],)).program


def net_batches(count: int = 64) -> list[Batch]:
    """Calibration batches of 32."""
    return [{"x": part} for part in digits()[0][:count].split(32)]
