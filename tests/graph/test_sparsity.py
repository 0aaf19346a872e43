"""The pattern is read off the tensor, and gains what the target says: times worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.cost import KernelCost, Roofline
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.graph.sparsity import follows
from compressor.targets import Figure, Provider, Sparsity, Target

TWO_OF_FOUR = torch.tensor([1.0, 0.0, 2.0, 0.0])


def sparse_board(**changes: Any) -> Target:
    """2of4 twice as fast in fp32 from eight channels on; one whole second of overhead less than nothing is hidden."""
    fields = {"kept": 2, "group": 4, "formats": ("fp32",), "speedup": 2.0, "width": 8, "source": "test", **changes}
    provider = Provider("Gpu", ("fp32", "int8"), ("*",), "int8", "test", (Sparsity(**fields),))
    return board(providers=(provider,), bandwidth=Figure(1e12, "test"))


def program(kind: str = "linear") -> Program:
    torch.manual_seed(0)
    if kind == "linear":
        return capture(nn.Linear(64, 32), (torch.randn(16, 64),)).program
    groups = 2 if kind == "grouped" else 1
    return capture(nn.Conv2d(16, 32, 3, groups=groups), (torch.randn(2, 16, 8, 8),)).program


def sparse(dense: Program, axis: int = 1) -> Program:
    """Half of each four consecutive weights along an axis set to zero."""
    copy = begin(dense)
    weight = copy.get("weight").detach()
    mask = TWO_OF_FOUR.ne(0).repeat(weight.shape[axis] // 4)
    set_tensor(copy, "weight", weight * mask.reshape([-1 if i == axis else 1 for i in range(weight.dim())]))
    return finish(copy)


def kernel(program: Program, target: Target) -> KernelCost:
    return Roofline().predict(program, target, batch=16).kernels[0]


@pytest.mark.parametrize("axis", [0, 1])
def test_the_pattern_holds_along_its_axis_alone(axis: int) -> None:
    weight = sparse(program(), axis).get("weight")
    assert follows(weight, 2, 4, axis)
    assert not follows(weight, 2, 4, 1 - axis)
    assert follows(weight, 4, 8, axis)
    assert not follows(weight, 1, 4, axis)


def test_what_is_not_a_multiple_follows_no_pattern() -> None:
    assert not follows(torch.zeros(8, 6), 2, 4, 1)
    assert follows(torch.zeros(8, 8), 2, 4, 1)
    assert not follows(torch.zeros(0, 8), 2, 4, 1)


def test_a_weight_that_is_written_into_is_looked_at_again() -> None:
    weight = torch.zeros(8, 8)
    assert follows(weight, 2, 4, 1)
    weight[7] = 1.0
    assert not follows(weight, 2, 4, 1)
    weight[7, ::2] = 0.0
    assert follows(weight, 2, 4, 1)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_rate_doubles_and_the_bytes_shrink(kind: str) -> None:
    dense, target = program(kind), sparse_board()
    before, after = kernel(dense, target), kernel(sparse(dense), target)
    assert before.latency_ms == pytest.approx(1e3 * (before.macs / 1e9 + 1e-6))
    assert after.latency_ms == pytest.approx(1e3 * (before.macs / 2e9 + 1e-6))
    assert (after.macs, after.weight_bytes) == (before.macs, before.weight_bytes)
    slow = sparse_board()
    slow = board(providers=slow.providers, bandwidth=Figure(1e6, "test"))
    weight = 4 * dense.get("weight").numel()
    packed = before.weight_bytes + before.activation_bytes - weight + weight * (0.5 * 34 / 32)  # two bits for a place
    assert kernel(sparse(dense), slow).latency_ms == pytest.approx(1e3 * (packed / 1e6 + 1e-6))


@pytest.mark.parametrize("changes", [{"kept": 1}, {"formats": ("int8",)}, {"width": 33}])
def test_another_pattern_format_or_width_gains_nothing(changes: dict[str, Any]) -> None:
    dense, target = program(), sparse_board(**changes)
    assert kernel(sparse(dense), target).latency_ms == kernel(dense, target).latency_ms


def test_grouped_convolutions_and_other_boards_gain_nothing() -> None:
    dense = program("grouped")
    assert kernel(sparse(dense), sparse_board()).latency_ms == kernel(dense, sparse_board()).latency_ms
    assert kernel(sparse(program()), board()).latency_ms == kernel(program(), board()).latency_ms


def test_a_dense_program_is_never_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    whole = Tensor.__ne__
    monkeypatch.setattr(Tensor, "__ne__", lambda self, other: (looked.append(self.numel()), whole(self, other))[1])
    dense = program()
    kernel(dense, board())
    assert looked == [], "no board asked"
    for _ in range(2):
        kernel(dense, sparse_board())
    assert looked == [64], "one row, once"
