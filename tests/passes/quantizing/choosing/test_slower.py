"""Each layer's time in a format beside its time as it is: what is compared, and what is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from boards import board
from narrow_nets import linear_net
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import SLACK, Estimate, Roofline
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.slower import Times, predict_saved, predict_times
from compressor.targets.target import Target

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
    both = Times({"table": 1.0, "head": 3.0}, {"table": 1.5, "head": 2.0})
    assert both.slower("table")
    assert not both.slower("table", "head"), "one wins more than the other loses"
    assert not both.slower("table", "unknown")


class Odd(Roofline):
    """The roofline as if it were measured; the integer convolution called `slow` takes so many times as long."""

    def __init__(self, slow: str, times: float = 10.0, *, calibrated: bool = True) -> None:
        self.slow, self.times, self.calibrated = slow, times, calibrated

    def predict(self, program: Program, target: Target, **options: object) -> Estimate:  # type: ignore[override]
        found = super().predict(program, target, **options)  # type: ignore[arg-type]
        kernels = tuple(
            replace(each, latency_ms=self.times * each.latency_ms)
            if each.layer == self.slow and each.format == "int8" and "conv" in each.kind
            else each
            for each in found.kernels
        )
        total = sum(each.latency_ms for each in kernels)
        return replace(found, kernels=kernels, latency_ms=total, calibrated=self.calibrated)


def integers(latency: Odd, objective: str = "latency", **options: object) -> tuple[set[str], dict[str, str]]:
    torch.manual_seed(0)
    net = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())))
    x = torch.randn(2, 16, 64, 64)
    program = capture(net, (x,)).program
    context = Context(board(objective=objective), latency=latency, calibration=[{program.inputs[0].name: x}])
    result = Quantize("int8", max_error=9.0, **options).run(program, context)  # type: ignore[arg-type]
    static = {name for name, setting in result.settings.items() if "low" in setting and name in "0246"}
    return static, {skip.site: skip.reason for skip in result.skipped}


def test_an_integer_layer_that_is_slower_stays_float() -> None:
    """Four in a row; the one before it then computes in float as well, and the whole still gains."""
    static, reasons = integers(Odd("2"))
    assert static == {"0", "4", "6"}
    assert reasons["2"].startswith("stays float: int8 is predicted to be slower: ")
    assert " ms, fp32 " in reasons["2"]


def test_what_its_neighbours_would_lose_by_it_counts() -> None:
    assert integers(Odd("2", 6.0))[0] == {"0", "2", "4", "6"}


def test_all_of_them_where_the_whole_is_slower() -> None:
    static, reasons = integers(Odd("2", 1000.0))
    assert static == set()
    assert "stays float: int8 is predicted to make the whole slower: " in reasons["0"]


def test_where_integers_are_kept_all_the_same() -> None:
    every = {"0", "2", "4", "6"}
    assert integers(Odd("2"), slower=True)[0] == every, "asked for"
    assert integers(Odd("2"), objective="size")[0] == every
    assert integers(Odd("2", calibrated=False))[0] == every, "nothing was measured"
    assert integers(Odd("none"))[0] == every


def test_what_each_layer_saves_against_fp32() -> None:
    program, _ = functional_copy(linear_net())
    four = {"format": "int4", "block": 64, "activation": "int8"}
    saved = predict_saved(program, CONTEXT, {"up": four, "down": four})
    assert set(saved) == {"up", "down"}
    assert all(value > 0.0 for value in saved.values())
    alone = predict_saved(program, CONTEXT, {"up": {"format": "int8", "weights": "int8"}})
    assert alone["up"] < 0.0, "its weight is unpacked in every run"
    assert predict_saved(program, Context(board()), {"up": four}) == {}
