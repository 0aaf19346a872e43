"""What layers read, and that a weight written on the way is the one that later layers' inputs come from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Progress
from compressor.graph.edit import begin
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.reading.inputs import Inputs, walk
from compressor.passes.sparsifying.layers import find_layers


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu_(self.first(x)) + self.first(x))


@pytest.fixture
def program() -> Program:
    torch.manual_seed(0)
    return begin(capture(Two(), (torch.randn(4, 8),)).program)


def gathered(program: Program, batches: list[Tensor], gram: bool = True) -> dict[str, Inputs | None]:
    given = [{program.inputs[0].name: batch} for batch in batches]
    return dict((l.name, i) for l, i in walk(program, find_layers(program)[0], given, lambda _: gram, Progress()))  # noqa: E741, C402


def test_sums_over_batches_and_calls(program: Program) -> None:
    x = torch.randn(10, 8)
    found = gathered(program, [x[:7], x[7:]])
    first, second = found["first"], found["second"]
    assert first is not None
    assert second is not None
    assert torch.allclose(first.squares, 2 * x.double().square().sum(0, keepdim=True))  # two calls read it
    y = program.get("first.weight").detach(), program.get("first.bias").detach()
    hidden = nn.functional.linear(x, *y)
    reads = (torch.relu(hidden) + hidden).double()
    assert second.gram is not None
    assert torch.allclose(second.gram[0], reads.T @ reads, atol=1e-4)
    assert gathered(program, [x], gram=False)["first"].gram is None  # type: ignore[union-attr]


def test_later_layers_read_what_was_written(program: Program) -> None:
    batches = [{program.inputs[0].name: torch.randn(5, 8)}]
    for layer, inputs in walk(program, find_layers(program)[0], batches, lambda _: False, Progress()):
        if layer.name == "first":
            layer.write(program, torch.zeros(1, 8, 8))
        else:
            last = inputs
    bias = program.get("first.bias").detach()
    dense = gathered(program, [torch.randn(5, 8)])["second"]
    assert last is not None
    assert dense is not None
    constant = ((torch.relu(bias) + bias).double().square() * 5).unsqueeze(0)
    assert not torch.allclose(last.squares, constant), "the first call had run with the old weight"
    assert torch.allclose(dense.squares, constant)


def test_beside_the_program_as_it_was(program: Program) -> None:
    """After the first layer is halved, x and x₀ of the second differ, and C and the means say by how much."""
    x = torch.randn(12, 8)
    batches, before = [{program.inputs[0].name: x[:5]}, {program.inputs[0].name: x[5:]}], begin(program)
    for layer, inputs in walk(program, find_layers(program)[0], batches, lambda _: True, Progress(), beside=before):
        assert inputs is not None
        if layer.name == "first":
            assert torch.equal(inputs.gram, inputs.cross), "nothing has changed so far"  # type: ignore[arg-type]
        if layer.name == "second":
            found = inputs
    assert found.positions == 12
    weight, bias = (before.get(f"first.{name}").detach() for name in ("weight", "bias"))
    hidden = nn.functional.linear(x, weight, bias)
    exact = (torch.relu(hidden) + hidden).double()
    assert found.cross is not None
    assert torch.allclose(found.cross[0], exact.T @ exact, atol=1e-4)
    halves = [exact[[0, 1, 2, 5, 6, 7, 8]].mean(0), exact[[3, 4, 9, 10, 11]].mean(0)]
    assert found.original is not None
    assert torch.allclose(found.original[:, 0], torch.stack(halves), atol=1e-5)
    for layer, inputs in walk(program, find_layers(program)[0], batches, lambda _: True, Progress(), beside=before):
        if layer.name == "first":
            layer.write(program, (weight / 2).unsqueeze(0))
        else:
            last = inputs
    now = (torch.relu(hidden) + nn.functional.linear(x, weight / 2, bias)).double()  # the first call had run
    assert last is not None
    assert last.cross is not None
    assert torch.allclose(last.cross[0], now.T @ exact, atol=1e-4)


def test_without_batches_and_where_nothing_arrives(program: Program) -> None:
    assert gathered(program, []) == {"first": None, "second": None}
    assert not Inputs(torch.zeros(1, 4), None).usable
    assert not Inputs(torch.full((1, 4), float("inf")), None).usable
    assert Inputs(torch.ones(1, 4), None).usable


def test_nothing_after_the_last_layer_that_is_asked_for_runs(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    ran, step = list[str](), Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self: (node := step(self), ran.append(str(node.target)))[0])
    [first] = [layer for layer in find_layers(program)[0] if layer.name == "first"]
    [(_, inputs)] = walk(program, [first], [{program.inputs[0].name: torch.randn(5, 8)}], lambda _: False, Progress())
    assert inputs is not None
    assert ran.count("aten.linear.default") == 1  # the second call of it is the last that reads: it need not run
