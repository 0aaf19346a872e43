"""The trained baselines that benchmarks compress: three Fashion-MNIST classifiers and a byte-level GPT.

    from models import fashion, load, text

    model = load("resnet")  # or "mobilenetv2", "vit", "gpt"; in eval mode
    for images, labels in fashion.batches("test"): ...
    for ids in text.batches("test"): ...

Beside each NAME.pt, an fp16 state dict, NAME.json tells how it was trained and how good it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from . import fashion, text
from .gpt import Gpt
from .mobilenetv2 import MobileNetV2
from .resnet import ResNet
from .vit import Vit

__all__ = ["BUILDERS", "build", "fashion", "load", "text"]

BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet, "mobilenetv2": MobileNetV2, "vit": Vit, "gpt": Gpt
}  # fmt: skip


def build(name: str) -> nn.Module:
    """The architecture with fresh weights, in train mode."""
    return BUILDERS[name]()


def load(name: str) -> nn.Module:
    """The trained baseline in eval mode: fp32 weights from the stored fp16."""
    model = build(name)
    model.load_state_dict(torch.load(Path(__file__).resolve().parent / f"{name}.pt", weights_only=True))
    return model.eval()
