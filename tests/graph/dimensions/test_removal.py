"""What a removal says in advance is what the cut program then has: rows, shapes, parameters, multiply–accumulates."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from exactness import Net, analysed
from programs import text
from torch import Tensor, nn

from compressor.graph.concrete import concrete_values
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.program import Program
from compressor.graph.work import macs

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
MLP = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))


class Gated(nn.Module):
    """Grouped convolutions, a gate by channel, a residual sum, a flattened head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.block = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=3), nn.GroupNorm(3, 12), nn.Conv2d(12, 12, 1))
        self.down, self.up = nn.Linear(12, 4), nn.Linear(4, 12)
        self.head = nn.Linear(12 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        gate = self.up(self.down(y.mean((2, 3))).relu()).sigmoid()
        return self.head((y + self.block(y) * gate[:, :, None, None]).flatten(1))


class Tagger(nn.Module):
    """Embedding, two-way LSTM, convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.rnn = nn.LSTM(6, 5, bidirectional=True, batch_first=True)
        self.mix, self.tags = nn.Conv1d(10, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tags(self.mix(self.rnn(self.words(x))[0].mT).relu().mT)


def halves(dimensions: Dimensions, seed: int) -> Removal:
    chance = random.Random(seed)
    return Removal(dimensions, [u for d in dimensions.dimensions for u in chance.sample(d.units, len(d.units) // 2)])


@pytest.fixture(scope="module", params=["gated", "tagger", "text"])
def dimensions(request: pytest.FixtureRequest) -> Dimensions:
    torch.manual_seed(0)
    if request.param == "text":
        return analyse(text())
    return analysed(*{
        "gated": (Gated(), (torch.randn(2, 3, 4, 4),)), "tagger": (Tagger(), (torch.randint(0, 20, (2, 7)),)),
    }[request.param])  # fmt: skip


def arithmetic(program: Program) -> int:
    values = concrete_values(program)
    return sum(macs(node, values) for node in program.nodes())


def test_parameters_and_arithmetic_are_those_of_the_cut_program(dimensions: Dimensions) -> None:
    for seed in range(2):
        removal = halves(dimensions, seed)
        smaller = cut(removal)
        assert removal.parameters() == dimensions.program.parameters() - smaller.parameters() > 0
        assert removal.macs() == arithmetic(smaller) < arithmetic(dimensions.program)


def test_shapes_are_those_of_the_cut_program(dimensions: Dimensions) -> None:
    removal = halves(dimensions, 2)
    smaller = cut(removal)
    foretold = {node.name: value for node, value in removal.values().items()}
    compared = 0
    for node, value in concrete_values(smaller).items():
        for one, two in zip(_listed(value), _listed(foretold.get(node.name)), strict=False):
            if isinstance(one, Tensor):
                assert one.shape == two.shape, node.name
                assert one.dtype == two.dtype, node.name
                compared += 1
    assert compared > len(list(dimensions.program.nodes())) / 2


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def test_nothing_removed_changes_nothing(dimensions: Dimensions) -> None:
    removal = Removal(dimensions, [])
    assert removal.parameters() == 0
    assert removal.macs() == arithmetic(dimensions.program)
    assert not removal.empties()
    assert not any(removal.changes(vector) for vector in dimensions.vectors)


def test_single_units_add_up_where_they_do_not_overlap() -> None:
    found = analysed(MLP, (X,), static=True)
    first = found.dimensions[0]
    assert all(Removal(found, [unit]).parameters() == first.parameters for unit in first.units)
    assert Removal(found, first.units[:3]).parameters() == 3 * first.parameters
    both = Removal(found, [first.units[0], found.dimensions[1].units[0]])
    assert both.parameters() == first.parameters + found.dimensions[1].parameters - 1  # one weight belongs to both


def test_rows_of_an_axis() -> None:
    found = analysed(MLP, (X,), static=True)
    rows = found.tensors["0.weight"][0]
    assert rows is not None
    removal = Removal(found, found.dimensions[0].units[2:4])
    assert removal.gone(rows).tolist() == [False, False, True, True, False, False, False, False]
    assert removal.kept(rows).tolist() == [0, 1, 4, 5, 6, 7]
    assert (removal.length(rows, 8), removal.length(None, 4)) == (6, 4)
    assert removal.changes(rows)
    assert not removal.changes(None)


def test_a_tensor_is_sliced_along_every_axis() -> None:
    found = analysed(MLP, (X,), static=True)
    weight = found.program.get("2.weight").detach()
    first, second = found.dimensions
    smaller = Removal(found, [first.units[0], second.units[4]]).sliced(weight, found.tensors["2.weight"])
    assert torch.equal(smaller, weight[:4, 1:])


def test_a_unit_of_a_grid_takes_its_line() -> None:
    net = Net(lambda m, x: (x @ m.a).view(-1, 2, 3).mT.flatten(1) @ m.o, a=(3, 6), o=(6, 2))
    found = analysed(net, (X,), static=True)
    rows = found.tensors["a"][1]
    assert rows is not None
    gone = {tuple(np.flatnonzero(Removal(found, [u]).gone(rows)).tolist()) for d in found.dimensions for u in d.units}
    assert gone == {(0, 1, 2), (3, 4, 5), (0, 3), (1, 4), (2, 5)}


def test_an_empty_axis_is_seen() -> None:
    found = analysed(MLP, (X,), static=True)
    units = found.dimensions[0].units
    assert Removal(found, units).empties()
    assert not Removal(found, units[1:]).empties()


def test_tied_weights_count_once() -> None:
    net = Net(lambda m, x: (x @ m.a) @ m.same + (x @ m.a) @ m.other, a=(3, 6), same=(6, 2), other=(6, 2))
    net.other = net.same
    found = analysed(net, (X,), static=True)
    assert Removal(found, found.dimensions[0].units[:2]).parameters() == 2 * (3 + 2)
