"""A penalty is trained for and judged with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from recovery import vit
from torch import Tensor

from compressor.passes.recover import Settings, recover


@dataclass(frozen=True)
class Small:
    """Wants one bias to be zero."""

    weight: float

    def __call__(self, tensors: Mapping[str, Tensor], fraction: float) -> Tensor:
        return self.weight * tensors["3.bias"].square().sum()


def test_what_is_wanted_besides_is_reached() -> None:
    program = vit(1)
    batches = [{program.inputs[0].name: torch.randn(8, 6, 5)} for _ in range(4)]
    sizes = {}
    for weight in (0.0, 100.0):
        settings = Settings(rate=0.02, penalty=Small(weight))
        done = recover(program, program, batches, "20steps", losses="output", settings=settings)
        sizes[weight] = float(done.program.get("3.bias").detach().norm())
        assert done.after <= done.before
    assert sizes[100.0] < 0.5 * sizes[0.0]
