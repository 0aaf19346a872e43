"""A program's calls as plain data: what they do, where they stand, and back from JSON."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from compressor.graph.calls import Call, calls_of
from compressor.graph.capture import capture
from compressor.graph.concrete import concrete_values
from compressor.graph.kernels import schedule


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.norm(self.conv(x)))
        one, two = y.chunk(2, 1)
        return self.head(y.mean((2, 3))), one * two


def calls(module: nn.Module, *example: Tensor) -> dict[str, Call]:
    program = capture(module.eval(), example).program
    values = concrete_values(program, 1)
    return {call.name: call for call in calls_of(program, values, schedule(program, values))}


def small() -> dict[str, Call]:
    return calls(Small(), torch.randn(2, 3, 16, 16))


def test_a_call_says_what_it_does() -> None:
    conv = small()["conv2d"]
    assert (conv.op, conv.kind, conv.format, conv.shape) == ("conv2d", "conv2d", "fp32", (1, 8, 8, 8))
    assert conv.macs == 8 * 64 * 27
    assert conv.arguments[3:5] == ((2, 2), (1, 1))
    assert [operand.shape for operand in conv.inputs] == [(1, 3, 16, 16)]
    assert [operand.shape for operand in conv.weights] == [(8, 3, 3, 3), (8,)]
    assert conv.weight_bytes == 4 * (216 + 8)
    assert conv.read_bytes == 4 * 768
    assert conv.bytes == 4 * conv.elements == 4 * 512


def test_a_call_says_where_it_stands() -> None:
    found = small()
    relu = found["relu"]
    assert (relu.kernel, relu.anchor, relu.main) == ("conv2d", "conv2d", False)
    assert found["conv2d"].main
    assert found["conv2d"].fellows == ("batch_norm", "relu")
    assert relu.readers == ("chunk", "mean")
    assert relu.inputs[0].source == "batch_norm"


def test_parts_of_a_tuple_belong_to_the_call_that_made_it() -> None:
    found = small()
    assert not any(call.op == "getitem" for call in found.values())
    assert found["chunk"].shapes == ((1, 4, 8, 8), (1, 4, 8, 8))
    assert found["chunk"].readers == ("mul",)
    assert {operand.source for operand in found["mul"].inputs} == {"chunk"}


def test_what_depends_on_no_input_is_no_call() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.exp(self.weight)

    [mul] = calls(Folded(), torch.randn(2, 4)).values()
    assert mul.op == "mul"
    assert [operand.stored for operand in mul.operands] == [False, True]


def test_back_from_json() -> None:
    for call in small().values():
        data: dict[str, Any] = json.loads(json.dumps(call.to_json()))
        assert Call.from_json(data) == call
