"""Zeros that stay."""

from __future__ import annotations

import torch
from torch import nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.passes.recover.masks import zeros_of


def test_matrices_with_zeros_have_a_mask() -> None:
    program = edit.begin(capture(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), (torch.randn(2, 4),)).program)
    weight = program.get("0.weight").detach().clone()
    weight[0] = 0
    edit.set_tensor(program, "0.weight", weight)
    edit.set_tensor(program, "1.bias", torch.zeros(2))
    found = zeros_of(program)
    assert list(found) == ["0.weight"]
    assert found["0.weight"].tolist() == [[False] * 4, [True] * 4, [True] * 4]
