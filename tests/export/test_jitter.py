"""Rounding is sensitive to the last place, floats are not; a wrong artifact stays wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from boards import board
from quantized import SCALE, with_blocks, with_int8
from torch import Tensor, nn

from compressor.errors import MismatchError
from compressor.export.agreement import INT8
from compressor.export.check import check
from compressor.export.jitter import jitter
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.relu())


@pytest.fixture
def small() -> Program:
    torch.manual_seed(0)
    return capture(Small(), (torch.randn(8, 64),)).program


def steps(offset: float) -> list[Batch]:
    """Values that lie this far from a step's middle, in steps."""
    return [{"x": (torch.arange(512).reshape(8, 64) % 100 + offset) * SCALE}]


def test_floats_move_as_far_as_they_are_pushed(small: Program) -> None:
    assert 1e-7 < jitter(small, steps(0.5)).relative_rms < 1e-5


def test_it_is_the_same_every_time(small: Program) -> None:
    assert jitter(small, steps(0.5)) == jitter(small, steps(0.5))


def test_values_between_two_steps_move_by_steps(small: Program) -> None:
    program = with_int8(small, "linear", output=False)
    assert jitter(program, steps(0.25)).relative_rms < 1e-5
    assert jitter(program, steps(0.5)).relative_rms > 1e-3


def test_sums_inside_a_product_with_blocks_are_moved_too(small: Program) -> None:
    assert 1e-7 < jitter(with_blocks(small, "linear", integer=False), steps(0.5)).relative_rms < 1e-5


def test_an_artifact_that_computes_something_else_is_no_jitter(conv_program: Program, tmp_path: Path) -> None:
    program = with_int8(conv_program, "conv2d", "linear", output=False)
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    other = with_int8(conv_program, "conv2d", "linear", output=False)
    name = next(name for name, tensor in other.tensors().items() if tensor.dtype == torch.int8 and tensor.dim() == 4)
    other.get(name).neg_()
    with pytest.raises(MismatchError, match="disagrees"):
        check(other, tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").tolerance >= INT8.relative_rms
