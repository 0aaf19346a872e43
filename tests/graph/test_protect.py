"""In-place operators reach copies, through views too; a program without them is left alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.functional import functionalize, is_mutating
from compressor.graph.protect import protected

aten = torch.ops.aten


class Cache(nn.Module):
    """Writes rows of a stored table and a column of the input, then reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        self.table[1:3].copy_(x[:2])
        x[:, 0] = 7.0
        return self.table + x.relu_()


def test_what_is_written_is_a_copy_and_can_be_made_functional() -> None:
    x = torch.randn(4, 3)
    expected = Cache()(x.clone())
    program = capture(Cache(), (x,), static=True).program
    copies = [node for node in program.nodes() if node.target is aten.clone.default]
    assert {node.args[0].op for node in copies} == {"placeholder", "get_attr"}  # type: ignore[union-attr]
    for _ in range(2):
        assert torch.equal(program.run((x,))["output"], expected)
    functional = program.copy()
    assert functionalize(functional) == ()
    functional.module.recompile()
    assert not any(is_mutating(node) for node in functional.nodes())
    assert torch.equal(functional.run((x,))["output"], expected)


def test_a_pure_program_is_left_alone() -> None:
    program = capture(nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)), (torch.randn(2, 3),)).program
    before = [node.name for node in program.graph.nodes]
    assert [node.name for node in protected(program).graph.nodes] == before
    assert any(is_mutating(node) for node in program.nodes()), "writing into its own values is nobody's business"
