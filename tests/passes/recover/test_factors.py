"""Factorized layers are found whatever became two, and the bound is PELA's."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.recover.factors import bound, pairs_of, thinned_from


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.bare = nn.Embedding(40, 16), nn.Parameter(torch.randn(16, 16) / 4)
        self.conv, self.fc = nn.Conv1d(16, 24, 3, padding=1), nn.Linear(24, 16)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) @ self.bare
        result: Tensor = self.fc(self.conv(x.transpose(1, 2)).transpose(1, 2))
        return result


@pytest.fixture(scope="module")
def teacher() -> Program:
    torch.manual_seed(0)
    return capture(Net(), (torch.randint(40, (2, 6)),)).program


def cut(teacher: Program, *names: str) -> Program:
    sites = {name: {"rank": 12} for name in names}
    return Factorize(sites=sites).run(teacher, Context(board())).program


@pytest.mark.parametrize("name", ["table", "bare", "conv", "fc"])
def test_a_product_is_what_the_layer_multiplies_by(teacher: Program, name: str) -> None:
    student = cut(teacher, name)
    [pair] = pairs_of(student, teacher)
    weight = teacher.get(pair.dense).detach()
    assert pair.dense == (name if name == "bare" else f"{name}.weight")
    u, s, v = torch.linalg.svd(weight.flatten(1) if name != "conv" else weight.movedim(1, -1).flatten(1))
    lost = (u[:, 12 : len(s)] * s[12:]) @ v[12 : len(s)]
    assert float(pair.strays(student.tensors(), weight).detach()) == pytest.approx(float(lost.abs().max()), rel=1e-2)


def test_all_are_found_and_others_are_none(teacher: Program) -> None:
    student = cut(teacher, "table", "fc")
    assert [pair.dense for pair in pairs_of(student, teacher)] == ["fc.weight", "table.weight"]
    assert pairs_of(teacher, teacher) == ()
    other = begin(student)
    set_tensor(other, "fc.first.weight", -student.get("fc.first.weight"))
    assert [pair.dense for pair in pairs_of(finish(other), teacher)] == ["table.weight"]


def test_thin_weights_are_told_whatever_was_done_to_them_since(teacher: Program) -> None:
    student = cut(teacher, "bare", "fc")
    other = begin(student)
    set_tensor(other, "fc.first.weight", -student.get("fc.first.weight"))
    named = {"fc.first.weight": "fc.weight", "fc.second.weight": "fc.weight"}
    assert thinned_from(finish(other), teacher) == {"bare_first.weight": "bare", "bare_second.weight": "bare", **named}
    assert thinned_from(student, student) == {}


def test_the_bound_is_a_mean_of_squares_beyond_epsilon() -> None:
    strays = [torch.tensor(0.101, requires_grad=True), torch.tensor(0.001)]
    value = bound(strays)
    assert float(value.detach()) == pytest.approx(0.005)
    torch.autograd.backward(value)
    assert float(strays[0].grad) == pytest.approx(0.1)  # type: ignore[arg-type]
