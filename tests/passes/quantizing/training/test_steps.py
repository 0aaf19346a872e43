"""Steps: the codes that they stand for are what the graph computes with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Setting
from compressor.graph.edit import add_tensor, begin, finish, read
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.training.steps import codes_by, first_step, insert_rounding
from compressor.passes.reading.matrix import from_matrix


@pytest.mark.parametrize(
    "setting",
    [
        {"format": "int8"},
        {"format": "int4", "block": 32},
        {"format": "int2", "block": 32},
        {"format": "ternary", "block": 64, "scale": "row"},
    ],
)
def test_the_codes_are_what_the_graph_computes(setting: Setting) -> None:
    torch.manual_seed(0)
    program = capture(nn.Linear(96, 8), (torch.randn(2, 96),)).program
    copy = begin(program)
    [layer] = find_layers(copy)[0]
    at, start = min(layer.nodes), first_step(copy, layer, setting)
    step = add_tensor(copy, "start", start, at, buffer=True), add_tensor(copy, "gain", torch.full_like(start, 0.1), at)
    blend = add_tensor(copy, "blend", torch.ones(()), at, buffer=True)
    rounded = insert_rounding(copy, read(copy, layer.weight, at), step, blend, layer, setting)
    for node in layer.nodes:
        node.update_arg(layer.positions[1], rounded)
    student, x = finish(copy), torch.randn(5, 96)
    weight = program.get("weight").detach()
    codes = codes_by(program, layer, setting, start * torch.tensor(0.1).exp())
    assert set(codes.codes.unique().tolist()) <= set(range(-128, 128))
    expected = nn.functional.linear(x, from_matrix(codes.values, weight, layer.kind), program.get("bias"))
    [found] = student.run([x]).values()
    torch.testing.assert_close(found, expected)
