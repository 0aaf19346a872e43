"""Units and dimensions: what is listed, what it is called, how many parameters a unit has, and what is frozen."""

from __future__ import annotations

import torch
from exactness import Net, analysed, frozen
from programs import text
from torch import nn

from compressor.graph.dimensions.groups import analyse

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
MLP = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))


def test_a_unit_is_every_slice_that_goes_with_it() -> None:
    found = analysed(MLP, (X,), static=True)
    first, second = found.dimensions
    assert (first.name, second.name) == ("0", "2")
    assert len(first.units) == 8
    assert first.spans == (("0.weight", 0, 1), ("0.bias", 0, 1), ("2.weight", 1, 1))
    assert [(s.tensor, s.axis, s.rows.tolist()) for s in found.slices[first.units[3]]] == [
        ("0.weight", 0, [3]), ("0.bias", 0, [3]), ("2.weight", 1, [3]),
    ]  # fmt: skip
    assert first.parameters == 3 + 1 + 5
    assert second.parameters == 8 + 1 + 2
    assert first.rows == 1


def test_units_of_a_dimension_share_no_rows() -> None:
    net = Net(lambda m, x: (x @ m.a).view(-1, 4, 4).softmax(0).flatten(1) @ m.o, a=(3, 16), o=(16, 2))
    found = analysed(
        Net(lambda m, x: (x @ m.a).view(-1, 4, 4).mT.flatten(1) @ m.o, a=(3, 16), o=(16, 2)), (X,), static=True
    )
    assert [len(d.units) for d in found.dimensions] == [4, 4]
    assert [d.name for d in found.dimensions] == ["o/4", "o/4#2"]
    for dimension in found.dimensions:
        rows = [row for unit in dimension.units for row in found.slices[unit][0].rows.tolist()]
        assert sorted(rows) == list(range(16))
    assert analysed(net, (X,), static=True).dimensions


def test_a_dimension_is_called_by_the_layer_that_makes_it() -> None:
    body = nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 12, 1, groups=3), nn.Conv2d(12, 2, 1))
    found = analysed(body, (torch.randn(2, 3, 4, 4),), static=True)
    assert {d.name: (d.rows, len(d.units)) for d in found.dimensions} == {"0/2": (2, 3), "0/3": (3, 2), "2/3": (3, 4)}


def test_buffers_go_along_but_make_no_units() -> None:
    found = analysed(
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)), (torch.randn(2, 3, 4, 4),)
    )
    (channels,) = found.dimensions
    assert ("1.running_mean", 0, 1) in channels.spans
    assert channels.parameters == 3 + 1 + 2 + 2


def test_an_overlap_of_two_axes_is_counted_once() -> None:
    net = Net(lambda m, x: ((x @ m.a) @ m.square + x @ m.a) @ m.o, a=(3, 6), square=(6, 6), o=(6, 2))
    ((together,),) = [analysed(net, (X,), static=True).dimensions]
    assert together.parameters == 3 + (36 - 25) + 2


def test_frozen_rows_say_why_and_how_many() -> None:
    found = analysed(MLP, (X,), static=True)
    assert frozen(found, "4.weight", 0) == "is the model's output 'output'"
    assert sum(one.rows for one in found.frozen if (one.tensor, one.axis) == ("4.weight", 0)) == 2
    assert frozen(found, "0.weight", 0) == ""
    assert all(one.reason for one in found.frozen)


def test_the_axis_of_a_tied_head_goes_with_the_embedding() -> None:
    found = analyse(text())
    names = {d.name: len(d.units) for d in found.dimensions}
    assert set(names.values()) >= {2, 8, 32}  # heads, their inner width, the feed-forward
    assert "rows are chosen by the input" in frozen(found, "head.weight", 0)
    assert found.walk.program is found.program


def test_the_analysis_is_the_same_each_time() -> None:
    one, two = (analysed(MLP, (X,), static=True) for _ in range(2))
    assert one.dimensions == two.dimensions
    assert one.frozen == two.frozen
