from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.lift import lift
from compressor.graph.program import Program
from compressor.graph.quiet import quiet


def test_computes_the_same_at_any_size(text_program: Program) -> None:
    from compressor.graph.edit import finish
    from compressor.graph.functional import functionalize

    program = text_program.copy()
    functionalize(program)
    program = finish(program)
    module = lift(program).module(check_guards=False)
    batch = [tensor[:1, :4] for tensor in program.example]
    for ours, theirs in zip(module(*batch), program.run(batch).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_tensors_are_shared_and_keep_their_names(conv_program: Program) -> None:
    from compressor.graph.functional import functionalize

    program = conv_program.copy()
    functionalize(program)
    lifted = lift(program)
    assert lifted.state_dict["head.weight"] is program.get("head.weight")
    assert "conv.weight" in dict(lifted.named_parameters())
    assert "norm.running_mean" in dict(lifted.named_buffers())


def test_inputs_are_called_as_they_are_named_whatever_fx_makes_of_a_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for index in range(12):
                self.register_buffer(f"and_{index}", torch.ones(2))
            self.inner = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + sum(getattr(self, f"and_{index}") for index in range(12))

    program = capture(Named().eval(), (torch.ones(3, 2),)).program
    lifted = lift(program)
    assert all(node.target == node.name for node in lifted.graph.nodes if node.op == "placeholder")
    with quiet():
        assert lifted.run_decompositions() is not None


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))


def test_a_graph_with_subgraphs_is_left_to_torch() -> None:
    program = capture(Branch(), (torch.ones(3),), static=True).program
    with pytest.raises(ValueError, match="no tensor"):
        lift(program)


def test_an_input_named_like_a_builtin_is_lifted() -> None:
    program = capture(nn.Sequential(nn.Linear(3, 2)), (torch.randn(2, 3),)).program
    assert program.inputs[0].name == "input"
    lifted = lift(program)
    lifted.validate()
    [result] = lifted.module(check_guards=False)(*program.example)
    assert torch.equal(result, program.run()["output"])


class Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unbind(1)[-1]


def test_an_output_that_decompositions_take_away_may_have_any_name() -> None:
    lifted = lift(capture(Last(), (torch.randn(2, 3, 4),)).program)
    with quiet():
        assert len(lifted.run_decompositions().graph_signature.user_outputs) == 1
