"""The weights that give what the float layer gave, from inputs that are no longer the same."""

from __future__ import annotations

import torch

from compressor.quant.solvers.target import target


def test_inputs_of_another_scale_are_made_up_for() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(1, 6, 16), torch.randn(1, 400, 16)
    now = x * torch.linspace(0.7, 1.3, 16) + 0.05 * torch.randn_like(x)
    found = target(weight, (now.mT @ now).double(), (now.mT @ x).double())
    wanted = x @ weight.mT
    before, after = ((wanted - now @ each.mT).norm() / wanted.norm() for each in (weight, found))
    assert found.dtype == weight.dtype
    assert float(after) < 0.4 * float(before)


def test_the_same_inputs_ask_for_the_same_weights() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(2, 5, 8), torch.randn(2, 100, 8)
    gram = (x.mT @ x).double()
    assert torch.allclose(target(weight, gram, gram), weight, atol=1e-6)


def test_inputs_without_a_factor_leave_the_weights() -> None:
    weight = torch.randn(1, 4, 3)
    gram = torch.full((1, 3, 3), float("nan"), dtype=torch.float64)
    assert target(weight, gram, gram) is weight
