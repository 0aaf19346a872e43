"""The network of all formats: each choice computes what its own rounding does, and adapters are apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantizing.training.choices import parse_choices
from compressor.passes.quantizing.training.supernet import make_supernet

CHOICES = parse_choices("words=int4:32/int8 point=int2:32/int4:32 product=int8/int2:32")


class Tied(nn.Module):
    """A table tied to the last layer, a pointwise convolution, and a matrix that is not transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.point = nn.Embedding(24, 64), nn.Conv1d(64, 64, 1)
        self.product = nn.Parameter(torch.randn(64, 64) / 8)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.point(self.words(ids).transpose(1, 2)).transpose(1, 2) @ self.product
        return functional.linear(x, self.words.weight)


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return functional_copy(capture(Tied().eval(), (torch.randint(0, 24, (2, 6)),)).program)[0]


def output(program: Program) -> Tensor:
    [found] = program.run([torch.arange(12).view(2, 6)]).values()
    return found


def test_it_computes_what_is_chosen(program: Program) -> None:
    net = make_supernet(program, CHOICES, (3.0, 6.0))
    assert [len(site.bytes) for site in net.schedule.sites] == [2, 2, 2]
    assert net.part("head", "int4") is None
    exact = output(program)
    errors = []
    for pick in (0, 1):
        chosen = begin(net.program)
        for site in net.schedule.sites:
            set_tensor(chosen, site.choice, site.chosen(pick))
        errors.append(float((output(finish(chosen)) - exact).norm() / exact.norm()))
    assert 0.0 < errors[1] < 0.6 * errors[0]


def test_adapters_move_their_own_format_alone(program: Program) -> None:
    for shared in (False, True):
        net = make_supernet(program, CHOICES, (3.0, 6.0), shared=shared)
        [low, high] = net.parts["point"]
        assert (low.left == high.left) == shared
        assert low.step != high.step
        moved = begin(net.program)
        set_tensor(moved, low.left, 0.1 * torch.ones_like(net.program.get(low.left)))
        done = finish(moved)
        assert torch.equal(output(done), output(net.program)) != shared, "the most bits are chosen"
    assert torch.equal(output(make_supernet(program, CHOICES, (3.0, 6.0), seed=1).program), output(net.program))
