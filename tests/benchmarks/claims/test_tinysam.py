"""The network with a large channel computes what it did."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from claims.tinysam import scaled  # found through the line above
from models.vit import Vit


def test_one_channel_is_larger_and_nothing_changes() -> None:
    torch.manual_seed(0)
    model = Vit(width=16, depth=2, heads=2).eval()
    large = scaled(model, seed=1)
    images = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(model(images), large(images), atol=1e-5)
    for before, after in zip(model.blocks, large.blocks, strict=True):
        factors = after.norm1.weight / before.norm1.weight
        assert sorted(set(factors.tolist())) == [1.0, 50.0]
        assert int((factors > 1).sum()) == 1
