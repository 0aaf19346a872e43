"""Where the channels go through operators that only move values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.passes.folding.affine import into_consumers, into_producer, is_beside_layer, moved_axis
from compressor.passes.folding.layers import Affine
from compressor.passes.folding.rule import Bench


class Layouts(nn.Module):
    """Each operator starts from x of shape (2, 3, 4, 5)."""

    def forward(self, x: Tensor) -> Any:
        return (
            x.permute(0, 2, 3, 1), x.transpose(-1, 1), x.flatten(2), x.flatten(1), x.reshape(6, 4, 5), x.unsqueeze(1),
            x[:, :2], x[:, :, 1], x[0], x[:1], x.roll(1, 3), x.flip(1), x.expand(7, 2, 3, 4, 5), x.clone(),
            x.roll(1), x.relu(),
        )  # fmt: skip


def test_every_layout_operator_agrees_with_what_it_does() -> None:
    """The claim, against the values: where axis a is said to go, each slice along it is found again."""
    program = capture(Layouts(), (torch.randn(2, 3, 4, 5),), static=True).program
    x, outputs = program.example[0], list(program.run().values())
    nodes = next(iter(reversed(program.graph.nodes))).args[0]
    known = 0
    for node, output in zip(nodes, outputs, strict=True):
        if node.all_input_nodes[0].op != "placeholder":
            continue
        for axis in range(4):
            moved = moved_axis(node, axis)
            if moved is None:
                continue
            known += 1
            assert output.shape[moved] == x.shape[axis]
            for index in range(x.shape[axis]):
                found = set(output.select(moved, index).flatten().tolist())
                assert found <= set(x.select(axis, index).flatten().tolist())
    assert known > 30
    by_name = {str(node.target): [moved_axis(node, axis) for axis in range(4)] for node in nodes}
    assert by_name["aten.relu.default"] == [None] * 4
    assert by_name["aten.permute.default"] == [0, 3, 1, 2]


class Neighbours(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).unsqueeze(1).neg().squeeze(1)).exp().neg()


def test_neighbours_are_found_through_layout_operators() -> None:
    program = capture(Neighbours(), (torch.randn(5, 3),), static=True).program
    first, second = [node for node in program.nodes() if node.target is torch.ops.aten.neg.default]
    bench = Bench(program)
    assert is_beside_layer(bench, first, first.args[0])
    assert not is_beside_layer(bench, second, second.args[0])


def test_reasons_leave_the_graph_as_it_is() -> None:
    program = capture(Neighbours(), (torch.randn(5, 3),), static=True).program
    bench, before = Bench(program), program.hash()
    second = [node for node in program.nodes() if node.target is torch.ops.aten.neg.default][1]
    twice = Affine(scale=torch.tensor(2.0, dtype=torch.float64))
    assert "aten.exp" in (into_producer(bench, second, second.args[0], twice, None) or "")
    assert "output of the program" in (into_consumers(bench, second, twice, None) or "")
    assert program.hash() == before


def test_channels_that_are_not_the_layers_decline() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.bn = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.fc(x)).relu()

    program = capture(Swapped().eval(), (torch.randn(2, 4, 4),), static=True).program
    norm = next(node for node in program.nodes() if node.target is torch.ops.aten.batch_norm.default)
    scale = Affine(scale=torch.rand(4, dtype=torch.float64))
    assert "not those of fc" in (into_producer(Bench(program), norm, norm.args[0], scale, 1) or "")
