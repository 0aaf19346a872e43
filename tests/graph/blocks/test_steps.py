"""Steps of residual streams: sums of a stream and branches; where they end and what is none."""

from __future__ import annotations

import torch
from blocks import captured, transformer
from torch import Tensor, nn

from compressor.graph.blocks.reach import Reach
from compressor.graph.blocks.steps import find_streams
from compressor.graph.program import Program


def streams(program: Program) -> list[list[int]]:
    """How many branches each step of each stream has."""
    return [[len(step.terms) for step in run] for run in find_streams(program, Reach(program))]


def test_a_step_is_a_sum_with_its_stream() -> None:
    assert streams(transformer(2)) == [[1, 1, 1, 1]]
    assert streams(transformer(2, "parallel")) == [[2, 2]]
    assert streams(transformer(2, "post")) == [[1, 1, 1, 1]]


class Sums(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.one, self.two = kind, nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "projected":
            return self.one(x) + self.two(x)
        if self.kind == "scaled":
            return 0.5 * x + self.one(x)
        if self.kind == "cast":
            return x.to(torch.float32, copy=True) + self.one(x)
        if self.kind == "branch scaled":
            return x + 0.1 * self.one(x).tanh()
        return x + 0.04 * x.pow(3)  # as in GELU


def test_sums_that_are_steps_and_sums_that_are_none() -> None:
    def found(kind: str) -> list[list[int]]:
        body = nn.Sequential(nn.Linear(8, 8), Sums(kind), nn.Linear(8, 8))
        return streams(captured(body, torch.randn(2, 6, 8)))

    assert found("scaled") == found("cast") == found("branch scaled") == [[1]]
    assert found("projected") == []
    assert found("cubed") == [[1]]  # nothing reads the stream past it; `find_blocks` asks for more


def test_a_step_ends_behind_its_activation() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.linear(x)).relu()

    program = captured(nn.Sequential(Block(), Block(), nn.Linear(8, 3)), torch.randn(2, 8))
    [run] = find_streams(program, Reach(program))
    assert ["relu" in str(step.exit.target) for step in run] == [True, True]
    assert run[1].entry is run[0].exit


def test_views_between_steps_are_a_gap() -> None:
    class Turned(nn.Module):
        def __init__(self, turned: bool) -> None:
            super().__init__()
            self.one, self.two, self.turned = nn.Linear(8, 8), nn.Linear(8, 8), turned

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.one(x).tanh()
            x = x.transpose(1, 2) if self.turned else x
            return x + self.two(x).tanh()

    for turned in (False, True):
        program = captured(nn.Sequential(nn.Linear(8, 8), Turned(turned)), torch.randn(2, 8, 8))
        [run] = find_streams(program, Reach(program))
        assert [step.gap for step in run] == [turned, False]
        assert all(step.weighted for step in run)
