"""One walk over the graph: axes by value, tied names, outputs that stay, axes that may not be emptied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, analysed, explained, frozen, spans
from torch import Tensor, fx, nn

from compressor.graph.capture import capture
from compressor.graph.dimensions.rules import rule_for
from compressor.graph.dimensions.walk import Axes, Rule, Walk

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def walked(module: nn.Module, *inputs: Tensor, rule: object = rule_for) -> Walk:
    return Walk.over(capture(module, inputs, static=True).program, rule)  # type: ignore[arg-type]


def node(walk: Walk, name: str) -> fx.Node:
    return next(node for node in walk.program.graph.nodes if node.name == name)


def test_inputs_have_no_units_and_parameters_have_them_on_every_axis() -> None:
    walk = walked(nn.Linear(3, 6), X)
    assert walk.of(node(walk, "input_1")) == (None, None)
    assert [len(axis) for axis in walk.of(node(walk, "weight")) if axis is not None] == [6, 3]
    assert walk.shape(node(walk, "linear")) == (4, 6)
    assert walk.of(3) == ()
    assert walk.shape("x") == ()


def test_a_single_unit_gets_no_label() -> None:
    walk = walked(nn.Linear(3, 1), X)
    assert walk.of(node(walk, "weight"))[0] is None


def test_integer_tables_have_no_units() -> None:
    class Indexed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", torch.arange(4))
            self.register_buffer("mask", torch.randn(4, 6))
            self.table, self.out = nn.Embedding(9, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.table(self.places) + x.sum() + self.mask)

    found = analysed(Indexed(), (X,), static=True)
    assert found.tensors["places"] == (None,)
    assert spans(found) == {"mask:1 out.weight:1 table.weight:1": 6}  # a float buffer is cut along


def test_tied_names_have_the_same_axes() -> None:
    def reads(m: Net, x: Tensor) -> Tensor:
        return (x @ m.a) @ m.same + (x @ m.b) @ m.other

    net = Net(reads, a=(3, 6), b=(3, 6), same=(6, 2), other=(6, 2))
    net.other = net.same
    found = analysed(net, (X,), static=True)
    ((together, units),) = spans(found).items()
    assert units == 6
    assert together.startswith("a:1 b:1")


def test_outputs_stay_and_say_which() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            hidden = self.body(x)
            return {"hidden": hidden, "scores": self.head(hidden)}

    found = analysed(Two(), (X,), static=True)
    assert spans(found) == {}
    assert frozen(found, "body.weight", 0) == "is the model's output 'hidden'"
    assert frozen(found, "head.weight", 0) == "is the model's output 'scores'"
    assert frozen(found, "head.weight", 1) == "is the model's output 'hidden'"


def test_a_unit_that_an_axis_cannot_do_without_stays() -> None:
    def part(m: Net, x: Tensor) -> Tensor:
        y = (x @ m.a).tanh()
        return y.view(-1, 2, 3).mT.flatten(1) @ m.b + y[:, :3] @ m.c

    net = Net(part, a=(3, 6), b=(6, 2), c=(3, 2))
    assert explained(net, X) == {
        "a:1/3 b:0/3": 1,  # the second half; without the first nothing would be left of c
        "a:1/2 b:0/2 c:0": 3,
    }


def test_repeated_units_go_everywhere_at_once() -> None:
    net = Net(lambda m, x: (x @ m.a).repeat(1, 3) @ m.b @ m.o, a=(3, 2), b=(6, 4), o=(4, 2))
    assert explained(net, X) == {"a:1 b:0/3": 2, "b:1 o:0": 4}
    lonely = Net(lambda m, x: (x @ m.a + m.b.repeat(3)) @ m.o, a=(3, 6), b=(2,), o=(6, 2))
    assert explained(lonely, X) == {"a:1/3 b:0 o:0/3": 2}


def test_a_rule_that_errs_freezes_what_it_touches() -> None:
    def broken(node: fx.Node) -> Rule:
        def raises(walk: Walk, node: fx.Node) -> Axes:
            raise IndexError("tuple index out of range")

        def misleads(walk: Walk, node: fx.Node) -> Axes:
            return (None,) * 5

        return {"relu": raises, "tanh": misleads}.get(node.name, rule_for(node))

    for layer, why in ((nn.ReLU(), "not understood (IndexError)"), (nn.Tanh(), "gives 2 axes where 5 were expected")):
        walk = walked(nn.Sequential(nn.Linear(3, 6), layer, nn.Linear(6, 2)), X, rule=broken)
        rows = walk.of(node(walk, "_0_weight"))[0]
        assert rows is not None
        (reason,) = {walk.labels.reason(atom) for row in rows for atom in walk.labels.atoms(int(row), raw=True)}
        assert why in str(reason)


@pytest.mark.parametrize("shapes", [((4, 6), (6,)), ((4, 6), (1, 6)), ((1, 4, 6), (4, 6)), ((4, 6), (4, 1))])
def test_axes_broadcast_from_the_right(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    walk = walked(nn.Linear(3, 6), X)
    axes = [
        tuple(walk.labels.fresh(f"{i}{a}", n) if n > 1 else None for a, n in enumerate(s)) for i, s in enumerate(shapes)
    ]
    out = walk.broadcast(node(walk, "linear"), axes, shapes, "why")
    assert len(out) == max(map(len, shapes))
    for axis in (-1, -2):
        known = [a[axis] for a, s in zip(axes, shapes, strict=True) if len(s) >= -axis and s[axis] > 1]
        assert all((walk.labels.resolve(v) == walk.labels.resolve(out[axis])).all() for v in known)  # type: ignore[arg-type]


def test_every_axis_is_listed_once() -> None:
    walk = walked(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), torch.randn(2, 3, 5, 5))
    vectors = walk.vectors()
    assert len({id(vector) for vector in vectors}) == len(vectors)
    (groups,) = (axes[0] for axes in walk.inner.values())
    assert any(vector is groups for vector in vectors)
    assert all(isinstance(vector, np.ndarray) for vector in vectors)
