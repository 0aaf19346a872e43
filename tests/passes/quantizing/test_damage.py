"""Damage: the relative output error that a layer's quantization alone would cause."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Setting
from compressor.passes.quantizing.damage import measure_damage, relative_error
from compressor.passes.quantizing.sites import find_layers


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def static(low: float, high: float) -> dict[str, Setting]:
    return {"0": {"format": "int8", "weights": "int8", "activation": "uint8", "low": low, "high": high}}


def test_damage_is_what_running_the_quantized_layer_shows() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 64)), noise(4, 64)
    program = capture(model, (x,)).program
    layers, _ = find_layers(program)
    damage = measure_damage(program, layers, static(-4, 4), [{"input": x}])
    # 256 steps over [−4, 4]: uniform noise of step/√12 on a signal of standard deviation 1, and the weights' own.
    weights = damage.weight_only["0"]
    assert 0.001 < weights < 0.01
    expected = math.hypot(8 / 255 / math.sqrt(12), weights)
    assert damage.static["0"] == pytest.approx(expected, rel=0.2)


def test_clipping_counts() -> None:
    torch.manual_seed(0)
    program = capture(nn.Sequential(nn.Linear(64, 64)), (noise(4, 64),)).program
    layers, _ = find_layers(program)
    errors = [
        measure_damage(program, layers, static(-cut, cut), [{"input": noise(4, 64)}]).static["0"] for cut in (4, 1, 0.2)
    ]
    assert errors == sorted(errors)
    assert errors[-1] > 0.5


def test_without_data_there_is_only_the_weights_error() -> None:
    program = capture(nn.Sequential(nn.Linear(64, 64)), (noise(4, 64),)).program
    damage = measure_damage(program, find_layers(program)[0], static(-1, 1), [])
    assert set(damage.weight_only) == {"0"}
    assert damage.static == {}


def test_relative_error_of_nothing() -> None:
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0.0
    assert relative_error(torch.zeros(3), torch.ones(3)) == math.inf
    assert relative_error(torch.ones(4), torch.full((4,), 1.1)) == pytest.approx(0.1)
