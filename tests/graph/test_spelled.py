"""Keywords that a forward collects become dynamic inputs of their own, and the model is as it was."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.spelled import replaced, spelled


class Collects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, a: Tensor, scale: float = 2.0, **more: Tensor) -> Any:
        return self.linear(a) * scale + more["b"] - more.get("c", 0.0)


def test_collected_keywords_are_dynamic_inputs() -> None:
    model = Collects()
    a, b, c = torch.randn(3, 2, 4)
    program = capture(model, (a,), {"b": b, "c": c}).program
    assert [(spec.name, spec.shape) for spec in program.inputs] == [(name, ("batch", 4)) for name in "abc"]
    batch = {"a": torch.randn(5, 4), "b": torch.randn(5, 4), "c": torch.randn(5, 4)}
    with torch.no_grad():
        torch.testing.assert_close(program.run(batch)["output"], model(batch["a"], b=batch["b"], c=batch["c"]))


def test_the_signature_is_named_inside_only() -> None:
    model = Collects()
    with spelled(model, ["b"]):
        assert list(inspect.signature(model.forward).parameters) == ["a", "scale", "b"]
        assert "b" in inspect.signature(model.forward).bind(torch.ones(1), b=torch.ones(1)).arguments
    assert "forward" not in model.__dict__


def test_a_forward_of_the_instance_is_put_back() -> None:
    model = Collects()
    mine = model.forward
    model.forward = mine
    with spelled(model, ["b"]):
        assert model.forward is not mine
    assert model.__dict__["forward"] is mine


def test_nothing_to_spell() -> None:
    model = nn.Linear(2, 2)
    with spelled(model, ["input"]):
        assert "forward" not in model.__dict__


def test_a_replaced_forward_keeps_parameters_and_goes_when_it_ends() -> None:
    model = nn.Linear(2, 2)
    with replaced(model, lambda x: x + 1):
        assert torch.equal(model(torch.ones(2)), torch.full((2,), 2.0))
        assert list(dict(model.named_parameters())) == ["weight", "bias"]
    assert "forward" not in model.__dict__
