"""Operators are told apart by what torch says of them."""

from __future__ import annotations

import torch
from blocks import captured
from torch import Tensor, nn

from compressor.graph.blocks.operators import is_activation, is_cast, is_layout, is_light, is_weighted, same_shape
from compressor.graph.blocks.reach import Reach


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(4), nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(self.norm(x) * self.scale).relu()
        y = y * y.pow(2).mean(-1, keepdim=True).rsqrt()
        return y.double().transpose(1, 2).roll(1, 1).softmax(1) + 2


def test_kinds_of_operators() -> None:
    program = captured(Net(), torch.randn(2, 6, 4))
    reach = Reach(program)
    found = {str(node.target).removeprefix("aten."): node for node in program.nodes()}
    assert {name for name, n in found.items() if is_layout(n)} == {"to.dtype", "transpose.int", "roll.default"}
    assert {name for name, n in found.items() if is_cast(n)} == {"to.dtype"}
    assert {name for name, n in found.items() if is_weighted(program, reach, n)} == {"linear.default"}
    assert is_activation(found["relu.default"])
    assert not is_activation(found["add.Tensor"])
    heavy = {name for name, n in found.items() if n.users and not is_light(n) and not is_layout(n)}
    assert heavy == {"linear.default", "softmax.int"}
    assert same_shape(found["linear.default"], found["relu.default"])
    assert not same_shape(found["linear.default"], found["transpose.int"])
