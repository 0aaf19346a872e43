"""The options of a pass that trains: kept by recipes, refused where they make no sense; and the way back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from narrow_nets import linear_net
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.edit import begin, finish, set_tensor
from compressor.passes.recover.lesson import Lesson, with_weights


@pytest.mark.parametrize("options", [{"train": "soon"}, {"losses": "kld"}, {"rate": -1.0}, {"marks": "5 3"}])
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Lesson(**{"train": "5steps", **options})


def test_a_recipe_keeps_what_is_no_default() -> None:
    setting = Lesson("2min", rate=0.002).setting("output", "3 9 /1")
    assert setting == {"train": "2min", "losses": "output", "rate": 0.002, "marks": "3 9 /1"}
    assert Lesson.read({"program": setting, "head": {"rank": 4}}) == Lesson("2min", "output", 0.002, "3 9 /1")
    assert Lesson.read({"head": {"rank": 4}}) is None


@pytest.mark.parametrize(
    "setting", [{"train": "5steps", "budget": "5steps"}, {"rate": 0.1}, {"train": 5}, {"train": "5steps", "rate": True}]
)
def test_a_recipe_that_says_something_else_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"program|budget"):
        Lesson.read({"program": setting})


def test_trained_weights_are_taken_by_name_and_others_stay() -> None:
    program = linear_net()
    copy = begin(program)
    set_tensor(copy, "up.weight", torch.zeros_like(program.get("up.weight")))
    done = with_weights(program, finish(copy))
    assert not done.get("up.weight").any()
    assert done.get("down.weight") is program.get("down.weight")


def test_ties_stay_ties() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
            self.other.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.other(self.one(x))
            return result

    program = capture(Tied(), (torch.randn(2, 4),)).program
    copy, value = begin(program), nn.Parameter(torch.ones(4, 4))
    for name in ("one.weight", "other.weight"):
        if name in program.tensors():
            set_tensor(copy, name, value)
    done = with_weights(program, finish(copy))
    assert done.unique_bytes() == program.unique_bytes()
