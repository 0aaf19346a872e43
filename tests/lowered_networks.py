"""A small network lowered for timing, and a sitting on this machine that takes no time."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from compressor.devices.latency.sitting import Settings
from compressor.devices.latency.subject import Subject, lower
from compressor.profile_networks import How, captured
from compressor.targets import load_target

__all__ = ["QUICK", "small"]

QUICK = Settings(blocks=2, seconds=0.0)


def small(folder: Path, name: str = "small", *, width: int = 8, how: How = "plain") -> Subject:
    """Two convolutions, a pool and a linear layer."""
    torch.manual_seed(width)
    module = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5),
    ).eval()  # fmt: skip
    host = load_target("host")
    return lower(captured(module, (torch.randn(2, 3, 8, 8),), {}, how, 0, host), host, folder, name, "small")
