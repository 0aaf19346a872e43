"""A penalty pulls on parameters, and what is kept is what it wants in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.passes.recover import Settings, recover


@dataclass(frozen=True)
class Small:
    """The weight's mean square, more of it toward the end."""

    strength: float

    def __call__(self, parameters: Mapping[str, Tensor], fraction: float) -> Tensor:
        return self.strength * fraction * parameters["weight"].square().mean()


def test_parameters_are_pulled_and_the_pulled_state_is_kept() -> None:
    torch.manual_seed(0)
    program = capture(nn.Linear(4, 4), (torch.randn(8, 4),)).program
    batches = [{program.inputs[0].name: torch.randn(8, 4)} for _ in range(8)]
    weak = recover(program, program, batches, "60steps", settings=Settings(rate=0.01, penalty=Small(1e-3)))
    strong = recover(program, program, batches, "60steps", settings=Settings(rate=0.01, penalty=Small(100.0)))
    sizes = [float(p.get("weight").detach().square().mean()) for p in (program, weak.program, strong.program)]
    assert strong.improved
    assert sizes[2] < 0.7 * sizes[0] < sizes[1]
    assert strong.before > weak.before, "held-out losses hold the whole penalty"
