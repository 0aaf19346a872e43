"""What a branch mixes is found by running it."""

from __future__ import annotations

import pytest
import torch
from blocks import Attention, captured
from torch import Tensor, fx, nn
from torch.nn import functional

from compressor.graph.blocks.kinds import features_axis, kind_of, reads_beside, spreads
from compressor.graph.blocks.reach import Reach
from compressor.graph.program import Program


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x, dim=1).real


def ends(program: Program) -> tuple[fx.Node, fx.Node]:
    [entry] = program.graph.find_nodes(op="placeholder")
    return entry, program.graph.output_node().args[0][0]  # type: ignore[index,return-value]


@pytest.mark.parametrize(
    ("branch", "shape", "axes"),
    [
        (nn.Linear(8, 8), (2, 6, 8), {2}),
        (Attention(8), (2, 6, 8), {1, 2}),
        (Spectrum(), (2, 6, 8), {1}),
        (nn.GELU(), (2, 6, 8), set()),
        (nn.Conv2d(4, 4, 1), (2, 4, 6, 6), {1}),
        (nn.Conv2d(4, 4, (3, 1), padding=(1, 0)), (2, 4, 6, 6), {1, 2}),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 6, 6), {2, 3}),
    ],
)
def test_axes_along_which_a_branch_spreads(branch: nn.Module, shape: tuple[int, ...], axes: set[int]) -> None:
    torch.manual_seed(0)
    program = captured(branch, torch.randn(shape))
    assert spreads(program, [ends(program)]) == [axes]


def test_features_lie_where_all_branches_spread() -> None:
    assert features_axis(3, [{1, 2}, {2}]) == 2
    assert features_axis(4, [{1, 2, 3}]) == 1
    assert features_axis(4, [{1, 2, 3}, {3}]) == 3
    assert features_axis(3, [{1}, {2}]) == 2


def test_kinds() -> None:
    assert kind_of({1, 2}, 2) == "mixer"
    assert kind_of({2}, 2) == "mlp"
    assert kind_of(set(), 2) == "branch"


@pytest.mark.parametrize(("how", "told"), [("product", True), ("sum", False), ("stored", False)])
def test_a_product_with_values_beside_the_stream_is_told(how: str, told: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.states = nn.Parameter(torch.randn(2, 3, 8))

        def forward(self, x: Tensor, more: Tensor) -> Tensor:
            if how == "sum":
                return x.tanh() + more.mean(1, keepdim=True)
            states = more if how == "product" else self.states
            return functional.scaled_dot_product_attention(x, states, states)

    program = captured(Net(), torch.randn(2, 6, 8), torch.randn(2, 3, 8))
    x = program.graph.find_nodes(op="placeholder")[0]
    assert reads_beside(Reach(program), x, program.graph.output_node().args[0][0]) is told  # type: ignore[index,arg-type]
