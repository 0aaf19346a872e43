"""Small honest models, and the factory file that builds one, for loading tests."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["FACTORY", "Net", "factory_file"]

FACTORY = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

def other():
    return nn.Linear(2, 2)

def raises():
    raise RuntimeError("no such dataset")

def number():
    return 3

def takes(width):
    return nn.Linear(width, width)

def net():
    return nn.ModuleDict({"linear": nn.Linear(4, 2)})
"""


def factory_file(folder: Path) -> Path:
    """A file with functions that build models, and some that fail."""
    path = folder / "factory.py"
    path.write_text(FACTORY)
    return path


class Net(nn.Module):
    """What `build` of the factory file returns, under a name that a pickle can look up."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))
