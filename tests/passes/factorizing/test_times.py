"""Predicted times: worked out by hand on a board with round numbers."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.times import Times, predict_times

CONTEXT = Context(board(), Roofline())


@pytest.fixture(scope="module")
def program() -> Program:
    model = nn.Sequential(nn.Linear(64, 128, bias=False), nn.ReLU(), nn.Linear(128, 64, bias=False))
    return capture(model, (torch.randn(1000, 64),)).program


def test_by_hand(program: Program) -> None:
    """1 GMAC/s and 1 µs a kernel; the batch of a prediction is one sample, of which bytes decide."""
    times = predict_times(program, {"0": Choice(8)}, CONTEXT)
    dense = 4 * (64 * 128 + 64 + 128) / 1e9 + 1e-6
    thin = 4 * (8 * 64 + 64 + 8) / 1e9 + 4 * (8 * 128 + 8 + 128) / 1e9 + 2e-6
    assert times.before["0"] == pytest.approx(1e3 * dense, rel=0.02)
    assert times.after["0"] == pytest.approx(1e3 * thin, rel=0.02)
    assert times.faster("0")
    assert times.whole("0") == pytest.approx(times.all[1])
    assert times.told("0").endswith("ms (uncalibrated)")


def test_a_rank_that_is_not_faster(program: Program) -> None:
    times = predict_times(program, {"0": Choice(42), "2": Choice(8)}, CONTEXT)
    assert not times.faster("0")
    assert times.faster("2")
    assert times.whole("2") is not None
    assert times.all[0] - times.before["0"] + times.after["0"] > times.all[0]


def test_what_does_not_fuse_any_more_counts(program: Program) -> None:
    """The dense layer's kernel has the ReLU in it, the butterfly's sum is a kernel of its own with it."""
    times = predict_times(program, {"0": Choice(8, blocks=1)}, CONTEXT)
    assert times.whole("0") == pytest.approx(times.all[1])
    assert times.after["0"] > predict_times(program, {"0": Choice(8)}, CONTEXT).after["0"]


def test_nothing_is_known_without_a_model(program: Program) -> None:
    times = predict_times(program, {"0": Choice(8)}, Context(board()))
    assert times == Times()
    assert times.faster("0")
    assert times.whole("0") is None
    assert predict_times(program, {}, CONTEXT) == Times()
