"""Layers that share memory are found together, and so is whatever else reads it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.ties import other_readers, storage_key, tied_groups, tied_names, turned_names


class Tied(nn.Module):
    """A table that is the last layer, too, a layer of its own, and one whose weight is read besides."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 8)
        self.own = nn.Linear(8, 8)
        self.read = nn.Linear(8, 8)
        self.last = nn.Linear(8, 12, bias=False)
        self.last.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.read(self.own(self.table(ids))) + self.read.weight.sum()
        scores: Tensor = self.last(x)
        return scores


def tied() -> Program:
    torch.manual_seed(0)
    return capture(Tied().eval(), (torch.arange(6).reshape(2, 3),)).program


def test_tied_layers_are_a_group_and_others_their_own() -> None:
    program = tied()
    layers, _ = find_layers(program)
    groups = [[layer.name for layer in group] for group in tied_groups(program, layers)]
    assert sorted(map(len, groups)) == [1, 1, 2]
    [pair] = [group for group in groups if len(group) == 2]
    assert tied_names(program, layers) == set(pair) == {"table", "last"}


def test_what_else_reads_the_memory() -> None:
    program = tied()
    layers = {layer.name: layer for layer in find_layers(program)[0]}
    assert not other_readers(program, [layers["own"]])
    assert other_readers(program, [layers["last"]]) == set(layers["table"].nodes)
    assert not other_readers(program, [layers["last"], layers["table"]])
    [node] = other_readers(program, [layers["read"]])
    assert "sum" in node.name


def test_the_key_tells_views_apart() -> None:
    weight = torch.randn(4, 4)
    assert storage_key(weight) == storage_key(weight.view(4, 4))
    assert len({storage_key(each) for each in (weight, weight.T, weight[1:], weight.clone())}) == 4


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.other = nn.Linear(8, 12), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(torch.relu(self.up(x)) @ self.up.weight)


def test_a_matrix_read_along_both_axes_is_told() -> None:
    program = capture(Transposed().eval(), (torch.randn(2, 8),)).program
    layers, _ = find_layers(program)
    assert turned_names(program, layers) == {layer.name for layer in layers if layer.weight == "up.weight"}
    assert len(layers) == 3
    alike = tied()
    assert turned_names(alike, find_layers(alike)[0]) == set()
