"""Python's own source as what a network is tuned to."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from models.gpt import CONTEXT  # found through the line above
from models.library import stream, windows


def test_nothing_held_out_is_trained_on() -> None:
    one, other = stream("train"), stream("test")
    assert len(one) > 4 * len(other) > 4 * CONTEXT
    text = bytes(other[:400].tolist())
    assert text not in bytes(one.tolist())


def test_windows_are_drawn_by_the_seed_or_spread() -> None:
    drawn = windows("train", 4, 0)
    assert drawn.shape == (4, CONTEXT)
    assert torch.equal(drawn, windows("train", 4, 0))
    assert not torch.equal(drawn, windows("train", 4, 1))
    assert torch.equal(windows("test", 3)[0], stream("test")[:CONTEXT])
