"""Stepping through a program gives what running it gives, with little held, and sees weights as they are by then."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from compressor.graph.capture import capture
from compressor.graph.edit import set_tensor
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper


@pytest.fixture
def program() -> Program:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)).eval()
    return capture(model, (torch.randn(2, 4),)).program


def test_the_last_value_is_the_output(program: Program) -> None:
    batch = {program.inputs[0].name: torch.randn(5, 4)}
    [output] = program.run(batch).values()
    stepper = Stepper(program, program.flatten(batch))
    result = next(node for node in program.graph.nodes if node.op == "output").all_input_nodes[0]
    stepper.run_to(result)
    torch.testing.assert_close(stepper.argument(result), output)
    assert list(stepper.values) == [result]


def test_a_weight_that_changes_on_the_way_counts(program: Program) -> None:
    batch = {program.inputs[0].name: torch.randn(5, 4)}
    stepper = Stepper(program, program.flatten(batch))
    linears = [node for node in program.nodes() if "linear" in str(node.target)]
    stepper.run_to(linears[0])
    set_tensor(program, str(linears[1].args[1].target), torch.zeros(3, 8))
    set_tensor(program, str(linears[1].args[2].target), torch.tensor([1.0, 2.0, 3.0]))
    stepper.run_to(linears[1])
    torch.testing.assert_close(stepper.argument(linears[1]), torch.tensor([[1.0, 2.0, 3.0]]).expand(5, 3))


def test_there_is_an_end(program: Program) -> None:
    stepper = Stepper(program, program.flatten({program.inputs[0].name: torch.randn(1, 4)}))
    for node in program.graph.nodes:
        if node.op != "output":
            assert stepper.step() is node
    with pytest.raises(StopIteration):
        stepper.step()


def test_a_fork_goes_on_alone_with_other_operators(program: Program) -> None:
    batch = {program.inputs[0].name: torch.randn(5, 4)}
    [output] = program.run(batch).values()
    linears = [node for node in program.nodes() if "linear" in str(node.target)]
    stepper = Stepper(program, program.flatten(batch))
    stepper.run_before(linears[1])
    place, held = stepper.place, list(stepper.values)
    [other] = stepper.fork({linears[1]: lambda x, weight, bias: x @ weight.T * 0 + bias}).outputs()
    torch.testing.assert_close(other, linears_bias(program, linears[1]).softmax(0).expand(5, 3))
    assert (stepper.place, list(stepper.values)) == (place, held)
    torch.testing.assert_close(stepper.fork({}).outputs()[0], output)
    torch.testing.assert_close(stepper.outputs()[0], output)


def linears_bias(program: Program, node: fx.Node) -> torch.Tensor:
    bias: torch.Tensor = program.get(str(node.args[2].target)).detach()  # type: ignore[union-attr]
    return bias
