"""Calibration watches the values of interest, batch by batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.passes.quantizing.calibrate import observe
from compressor.quant.calibrators import MinMax


class Log(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.scale(x))


def doubled() -> nn.Module:
    model = Log()
    model.scale.weight = nn.Parameter(2 * torch.eye(3))
    nn.init.zeros_(model.scale.bias)
    return model


def test_calibrators_see_every_batch() -> None:
    program = capture(doubled(), (torch.ones(2, 3),)).program
    linear = next(node for node in program.nodes() if "linear" in node.name)
    watcher = MinMax()
    observe(program, [{"x": torch.full((2, 3), value)} for value in (1.0, 5.0, 3.0)], {linear: watcher})
    assert watcher.range() == (0.0, 10.0)


def test_values_that_are_not_finite_name_the_layer() -> None:
    program = capture(doubled(), (torch.ones(2, 3),)).program
    linear = next(node for node in program.nodes() if "linear" in node.name)
    with pytest.raises(InputError, match="NaN or infinite") as caught:
        observe(program, [{"x": torch.full((2, 3), float("nan"))}], {linear: MinMax()})
    assert caught.value.where == "scale"
