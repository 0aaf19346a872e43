"""Each layer's time in a format beside its time as it is: what is compared, and what is not known."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.quantizing.slower import SLACK, Times, predict_times

CONTEXT = Context(board(), latency=Roofline())
SETTING = {"format": "int4", "block": 32, "activation": "int8"}


@pytest.fixture(scope="module")
def program() -> Program:
    model = nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Conv2d(64, 32, 1), nn.Flatten(), nn.Linear(512, 256))
    return capture(model, (torch.randn(1, 64, 4, 4),)).program


def test_a_layer_is_its_product_and_its_changes_of_layout(program: Program) -> None:
    times = predict_times(program, CONTEXT, {"0": SETTING, "4": SETTING}, {})
    linear = 512 * 256 / 4e9 + 1e-6, (512 * 256 * 4 + 256 * 4 + 512 * 4 + 256 * 4) / 1e9 + 1e-6
    stored = (512 * 256 / 2 + 512 * 256 / 32 * 4 + 256 * 4 + 512 * 4 + 256 * 4) / 1e9 + 1e-6
    assert times.after["4"] == pytest.approx(1e3 * max(linear[0], stored), rel=1e-6)
    assert times.before["4"] == pytest.approx(1e3 * linear[1], rel=1e-6)
    moved = 2 * (2 * 64 * 16 * 4 / 1e9 + 1e-6)  # there and back: read and written once each
    assert times.after["0"] > 1e3 * moved, "the permutations count"
    assert not times.slower("4")
    assert not times.slower("0"), "as slowly as fp32 multiplies on this board"
    assert times.told("0", "fp32") == f"{times.after['0']:.3g} ms, fp32 {times.before['0']:.3g} ms (uncalibrated)"
    assert times.all[1] - times.all[0] == pytest.approx(
        sum(times.after.values()) - sum(times.before.values()), abs=1e-9
    )


def test_against_what_it_would_be_instead(program: Program) -> None:
    ranges = {"activation": "uint8", "low": 0.0, "high": 4.0, "out_low": -4.0, "out_high": 4.0}
    integer = {name: {"format": "int8", "weights": "int7", **ranges} for name in ("0", "2")}
    plain, other = (predict_times(program, CONTEXT, {"0": SETTING}, instead) for instead in ({}, integer))
    assert other.before["0"] < plain.before["0"]
    assert other.slower("0")


def test_nothing_is_known_without_a_model_or_blocks(program: Program) -> None:
    assert predict_times(program, Context(board()), {"4": SETTING}, {}) == Times()
    assert predict_times(program, CONTEXT, {}, {}) == Times()
    assert not Times().slower("4")
    assert not Times({"4": 1.0}, {"4": SLACK}).slower("4")
    assert Times({"4": 1.0}, {"4": 1.02}).slower("4")
