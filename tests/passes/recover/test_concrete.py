"""The hard concrete distribution against its closed form."""

from __future__ import annotations

import pytest
import torch

from compressor.passes.recover.concrete import BETA, HIGH, LOW, below, drawn, median


@pytest.mark.parametrize("log_alpha", [-3.0, -0.5, 0.0, 1.0, 4.0])
def test_draws_follow_the_distribution_function(log_alpha: float) -> None:
    masks = drawn(torch.full((200_000,), log_alpha), torch.Generator().manual_seed(0))
    assert float(masks.min()) >= 0.0
    assert float(masks.max()) <= 1.0
    for x in (0.0, 0.1, 0.5, 0.9):
        wanted = float(below(torch.tensor(log_alpha), x))
        assert float((masks <= x).float().mean()) == pytest.approx(wanted, abs=0.005)


def test_the_probability_of_zero_is_the_papers() -> None:
    log_alpha = torch.tensor([-2.0, 0.0, 2.0])
    wanted = 1 - torch.sigmoid(log_alpha - BETA * torch.log(torch.tensor(-LOW / HIGH)))
    assert torch.allclose(below(log_alpha), wanted)


def test_half_the_draws_are_below_the_median() -> None:
    log_alpha = torch.tensor(0.3)
    assert float(below(log_alpha, float(median(log_alpha)))) == pytest.approx(0.5, abs=1e-5)
    assert float(median(torch.tensor(9.0))) == 1.0
    assert float(median(torch.tensor(-9.0))) == 0.0


def test_masks_have_gradients() -> None:
    log_alpha = torch.zeros(100, requires_grad=True)
    torch.autograd.backward(drawn(log_alpha, torch.Generator().manual_seed(0)).sum())
    assert log_alpha.grad is not None
    assert bool((log_alpha.grad >= 0).all())
    assert bool((log_alpha.grad > 0).any())
