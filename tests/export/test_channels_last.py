"""Permutations meet and cancel: between convolutions none is left, and every value stays what it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.export.channels_last import TO_FIRST, TO_LAST, channels_last
from compressor.export.float_layers import in_layers
from compressor.graph.capture import capture
from compressor.graph.edit import permutation
from compressor.graph.program import Program

IMAGE, LINE = torch.randn(2, 4, 9, 8), torch.randn(2, 4, 20)


class Between(nn.Module):
    """A convolution, something, another one."""

    def __init__(self, what, channels: int = 6, line: bool = False) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        kind = nn.Conv1d if line else nn.Conv2d
        self.one, self.two, self.what = kind(4, 6, 3, padding=1), kind(channels, 5, 3, padding=1), what
        self.scale = nn.Parameter(torch.randn(6, 1) if line else torch.randn(1, 6, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.what(self, self.one(x)))


FREE = {
    "nothing": (Between(lambda s, y: y), IMAGE),
    "activation": (Between(lambda s, y: torch.relu(y) * 2 + 1), IMAGE),
    "hard swish": (Between(lambda s, y: nn.functional.hardswish(y)), IMAGE),
    "residual": (Between(lambda s, y: y + torch.sigmoid(y)), IMAGE),
    "attention of channels": (Between(lambda s, y: y * torch.sigmoid(y.mean((2, 3), True))), IMAGE),
    "stored factor": (Between(lambda s, y: y * s.scale), IMAGE),
    "join": (Between(lambda s, y: torch.cat([y, torch.relu(y)], 1), 12), IMAGE),
    "cut": (Between(lambda s, y: y[:, 1:5], 4), IMAGE),
    "halves": (Between(lambda s, y: y.chunk(2, 1)[0] + y.chunk(2, 1)[1], 3), IMAGE),
    "pad": (Between(lambda s, y: nn.functional.pad(y, (1, 2, 3, 0))), IMAGE),
    "pool": (Between(lambda s, y: nn.functional.max_pool2d(y, 2)), IMAGE),
    "softmax of channels": (Between(lambda s, y: y.softmax(1)), IMAGE),
    "line": (Between(lambda s, y: torch.relu(y), line=True), LINE),
    "stored factor of a line": (Between(lambda s, y: y * s.scale, line=True), LINE),
}
TURNED = {
    "shuffle": (Between(lambda s, y: y.view(2, 2, 3, 9, 8).transpose(1, 2).reshape(2, 6, 9, 8)), IMAGE),
    "padding that repeats the image": (
        Between(lambda s, y: nn.functional.pad(y, (1, 2, 3, 0), mode="reflect"), channels=6),
        IMAGE,
    ),
    "sum over lines": (Between(lambda s, y: y + y.sum(2).unsqueeze(2)), IMAGE),
}


def _permutations(program: Program) -> list[list[int]]:
    return [order for node in program.nodes() if (order := permutation(node)) is not None]


def _check(module: nn.Module, x: torch.Tensor) -> Program:
    given = in_layers(capture(module.eval(), (x,)).program)
    found = channels_last(given)
    for left, right in zip(given.run().values(), found.run().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    for size in (1, 3):
        batch = {"x": torch.randn(size, *x.shape[1:])}
        torch.testing.assert_close(found.run(batch)["output"], given.run(batch)["output"], rtol=1e-5, atol=1e-5)
    return found


@pytest.mark.parametrize("name", FREE)
def test_none_is_left_between(name: str) -> None:
    module, x = FREE[name]
    moved = [order for order in _permutations(_check(module, x)) if order in (TO_LAST, TO_FIRST)]
    assert moved == [
        TO_LAST,
        *([TO_LAST] if "factor" in name and x is IMAGE else []),
        *([TO_FIRST] if x is IMAGE else []),
    ]


@pytest.mark.parametrize("name", TURNED)
def test_what_has_no_rule_reads_channels_first(name: str) -> None:
    module, x = TURNED[name]
    given = in_layers(capture(module.eval(), (x,)).program)
    found = channels_last(given)
    torch.testing.assert_close(found.run()["output"], given.run()["output"], rtol=1e-5, atol=1e-5)


def test_two_in_a_row_are_one() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (
                torch.relu(x.permute(0, 2, 1, 3).permute(0, 2, 1, 3)) + x.permute(1, 0, 2, 3).permute(3, 1, 0, 2).sum()
            )

    given = capture(Twice().eval(), (IMAGE,)).program
    found = channels_last(in_layers(given))
    torch.testing.assert_close(found.run()["output"], given.run()["output"])


def test_without_permutations_it_is_the_program_itself() -> None:
    given = capture(nn.Linear(20, 3).eval(), (LINE,)).program
    assert channels_last(given) is given
