"""Digests are equal for what computes alike, and parameters correspond."""

from __future__ import annotations

from collections.abc import Callable

import torch
from blocks import captured
from torch import Tensor, fx, nn
from torch.nn import functional

from compressor.graph.blocks.likeness import followed, likeness
from compressor.graph.blocks.reach import Reach
from compressor.graph.program import Program

Step = Callable[[Tensor, nn.Linear], Tensor]


class Two(nn.Module):
    """Two steps in a row, each with a linear layer of its own."""

    def __init__(self, one: Step, two: Step, width: int = 4) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, width), nn.Linear(4, width)
        self.steps = one, two

    def forward(self, x: Tensor) -> Tensor:
        y = self.steps[0](x.sin(), self.a)
        return self.steps[1](y.sin(), self.b).cos()


def ends(one: Step, two: Step) -> tuple[Program, Reach, list[fx.Node]]:
    program = captured(Two(one, two), torch.randn(2, 6, 4))
    nodes = [node for node in program.nodes() if "sin" in str(node.target) or "cos" in str(node.target)]
    return program, Reach(program), [nodes[0], nodes[1].all_input_nodes[0], nodes[1], nodes[2].all_input_nodes[0]]


def alike(one: Step, two: Step) -> bool:
    program, reach, (a, b, c, d) = ends(one, two)
    return likeness(program, reach, a, b).digest == likeness(program, reach, c, d).digest


def plain(x: Tensor, layer: nn.Linear) -> Tensor:
    return layer(x).relu()


def test_the_same_operators_are_alike_and_views_do_not_count() -> None:
    assert alike(plain, plain)
    assert alike(plain, lambda x, layer: layer(x.roll(1, 1)).relu().transpose(1, 2).transpose(1, 2))
    assert alike(plain, lambda x, layer: functional.dropout(layer(x).relu(), 0.5, training=False))


def test_other_operators_numbers_or_wirings_are_not() -> None:
    assert not alike(plain, lambda x, layer: layer(x).tanh())
    assert not alike(lambda x, _: x.clamp(0, 1) @ x.new_ones(4, 4), lambda x, _: x.clamp(0, 2) @ x.new_ones(4, 4))
    assert not alike(plain, lambda x, layer: layer(x).relu() * x)


def test_parameters_are_in_the_order_in_which_they_are_read() -> None:
    program, reach, (a, b, c, d) = ends(plain, plain)
    assert likeness(program, reach, a, b).parameters == ("a.weight", "a.bias")
    assert likeness(program, reach, c, d).parameters == ("b.weight", "b.bias")


def test_what_corresponds_is_found_again_or_not_at_all() -> None:
    program, reach, (a, b, c, d) = ends(plain, plain)
    assert followed(program, reach, a, reach.between(a, b), b, c) is d
    program, reach, (a, b, c, d) = ends(plain, lambda x, layer: layer(x).tanh())
    assert followed(program, reach, a, reach.between(a, b), b, c) is None
