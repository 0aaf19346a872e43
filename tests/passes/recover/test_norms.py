"""Statistics of batch norms: estimated anew, and shared between processes."""

from __future__ import annotations

import pytest
import torch
from recovery import accuracy, damaged, digits_batches, digits_program
from torch import fx, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.passes.recover import norms
from compressor.passes.recover.norms import recalibrate, synchronize


def test_the_statistics_are_those_of_all_samples() -> None:
    torch.manual_seed(0)
    program = capture(nn.BatchNorm2d(3), (torch.randn(2, 3, 4, 4),)).program
    x = torch.randn(64, 3, 4, 4) * torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1) + 5
    before = program.hash()
    done = recalibrate(program, [{"input": part} for part in x.split(16)])
    torch.testing.assert_close(done.get("running_mean"), x.mean((0, 2, 3)))
    torch.testing.assert_close(done.get("running_var"), x.var((0, 2, 3)), rtol=0.01, atol=0.01)
    assert program.hash() == before


def test_a_damaged_network_gets_most_of_its_accuracy_back() -> None:
    student = damaged(digits_program(), 0.3)
    assert accuracy(student) < 0.6
    assert accuracy(recalibrate(student, digits_batches())) > 0.9


def test_nothing_to_do_changes_nothing() -> None:
    plain = capture(nn.Linear(3, 2), (torch.randn(2, 3),)).program
    assert recalibrate(plain, [{"input": torch.randn(4, 3)}]) is plain
    program = capture(nn.BatchNorm1d(3), (torch.randn(2, 3),)).program
    assert recalibrate(program, []) is program
    assert recalibrate(program, [{"input": torch.randn(1, 3)}]) is program, "one sample has no variance"


def test_the_shared_batch_norm_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "_summed", lambda value: value)  # a world of one
    torch.manual_seed(0)
    graph = fx.Graph()
    names = ("x", "w", "b", "mean", "var")
    holders = [graph.placeholder(name) for name in names]
    node = graph.call_function(torch.ops.aten.batch_norm.default, (*holders, True, 0.1, 1e-5, False))
    graph.output(node)
    synchronize(graph)
    module = fx.GraphModule(nn.Module(), graph)
    results = []
    for run in (module, lambda x, w, b, m, v: functional.batch_norm(x, m, v, w, b, True, 0.1, 1e-5)):
        x = torch.linspace(-2, 5, 96).reshape(4, 3, 8).sin().requires_grad_()
        w, b = torch.tensor([1.0, 2.0, 0.5], requires_grad=True), torch.zeros(3, requires_grad=True)
        mean, var = torch.zeros(3), torch.ones(3)
        y = run(x, w, b, mean, var)
        torch.autograd.backward((y * y.detach().cos()).sum())
        results.append((y, x.grad, w.grad, b.grad, mean, var))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
