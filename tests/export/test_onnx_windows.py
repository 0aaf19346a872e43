"""Patches as ONNX operators: the very numbers, for sizes that are known when it runs, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from boards import board
from torch import Tensor, nn

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture

patches = torch.ops.compressor.patches


class Patches(nn.Module):
    def __init__(self, *sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        return patches(x, *self.sizes)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((2, 9, 4), ([3], [2], [1, 1], [1])),
        ((2, 7, 9, 5), ([3, 3], [1, 1], [1, 1, 1, 1], [1, 1])),
        ((1, 11, 8, 3), ([2, 3], [3, 2], [0, 1, 2, 0], [2, 1])),
        ((1, 5, 6, 4, 2), ([3, 1, 2], [1, 2, 1], [1, 0, 0, 0, 1, 1], [1, 1, 2])),
    ],
)
def test_rows(shape: tuple[int, ...], sizes: tuple[list[int], ...], tmp_path: Path) -> None:
    program = capture(Patches(*sizes), (torch.randn(shape),)).program
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error == 0
