"""Trials: the error that a layer will have, with and without scales on its inputs."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.rounding import NEAREST, Rounding
from compressor.passes.quantizing.scaling.trial import Trial, Watched, trial_of
from compressor.passes.quantizing.sites import Layer, find_layers

CONTEXT = Context(board())


def single(net: nn.Module, *shape: int) -> tuple[Program, Layer, Watched]:
    torch.manual_seed(0)
    x = torch.randn(shape)
    program, _ = functional_copy(capture(net, (x,)).program)
    [layer] = find_layers(program)[0]
    seen = Watched()
    seen.observe(layer.nodes[0], x, program.get(layer.weight), layer.kind, 1)
    return program, layer, seen


def test_what_was_observed() -> None:
    _, _, seen = single(nn.Conv1d(4, 8, 3, groups=2), 5, 4, 9)
    assert seen.rows[0].shape == (2, 35, 6)
    low, high = seen.extremes
    assert low.shape == high.shape == (4,)
    assert torch.equal(seen.reach(integer=True), torch.maximum(-low, high))
    assert bool((seen.reach(integer=False) < seen.reach(integer=True)).all())
    with pytest.raises(ValueError, match="nothing was observed"):
        _ = Watched().extremes


@pytest.mark.parametrize(("format", "mode", "low", "high"), [
    ("int8", "weight-only", 1e-5, 1e-4), ("int8", "auto", 5e-5, 5e-4), ("int4", "auto", 3e-3, 2e-2),
    ("ternary", "auto", 0.1, 0.3),
])  # fmt: skip
def test_errors_are_those_of_the_format(format: str, mode: str, low: float, high: float) -> None:
    program, layer, seen = single(nn.Linear(64, 32), 50, 64)
    trial = trial_of(program, format, 64, mode, Rounding("mse") if format != "int8" else NEAREST, CONTEXT)
    weight, ones = program.get(layer.weight).detach(), torch.ones(64)
    assert low < trial.error(layer, weight, weight, ones, seen) < high


def test_a_convolution_stays_float_in_blocks() -> None:
    program, layer, seen = single(nn.Conv1d(4, 8, 3), 5, 4, 9)
    trial = trial_of(program, "int4", 32, "auto", Rounding("mse"), CONTEXT)
    weight = program.get(layer.weight).detach()
    assert not trial.rounds(layer)
    assert trial.error(layer, weight, weight, torch.ones(4), seen) == 0.0


def test_scales_reach_the_columns_of_a_grouped_convolution() -> None:
    """W·s read as x/s in float is the same product: the error is the rounding's alone."""
    program, layer, seen = single(nn.Conv1d(4, 8, 3, groups=2), 5, 4, 9)
    trial = Trial(program, {"format": "int8", "weights": "int8"})
    scale = torch.tensor([1.0, 2.0, 4.0, 0.5])
    weight = program.get(layer.weight).detach()
    scaled = weight * scale.view(2, 1, 2).expand(2, 4, 2).reshape(8, 2, 1)
    assert trial.error(layer, weight, scaled, scale, seen) < 5e-4
    assert trial.error(layer, weight, weight, scale, seen) > 0.1
