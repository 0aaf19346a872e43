"""Each formula against an independent computation, and what T² is for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compressor.passes.recover.losses.scores import hard_ce, kl, ofa, soft_ce


@pytest.fixture
def scores() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 5) * 2, torch.randn(6, 5) * 2


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_is_the_divergence_times_the_square_of_t(scores: tuple[Tensor, Tensor], temperature: float) -> None:
    ours, theirs = scores
    p, q = (torch.softmax(s / temperature, -1) for s in (theirs, ours))
    by_hand = temperature**2 * (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(kl(ours, theirs, temperature), by_hand)
    torch.testing.assert_close(kl(ours, ours + 7, temperature), torch.zeros(6), atol=1e-5, rtol=0)


def test_t_squared_keeps_the_size_of_the_gradient(scores: tuple[Tensor, Tensor]) -> None:
    def size(temperature: float, *, scaled: bool) -> float:
        ours = scores[0].clone().requires_grad_()
        loss = kl(ours, scores[1], temperature).mean()
        torch.autograd.backward(loss if scaled else loss / temperature**2)
        assert ours.grad is not None
        return float(ours.grad.norm())

    # For high T the gradient of the scaled loss tends to (z_s − z_t) / C, centred: T drops out (Hinton, section 2.1).
    assert size(20.0, scaled=True) == pytest.approx(size(80.0, scaled=True), rel=0.1)
    assert size(20.0, scaled=False) > 10 * size(80.0, scaled=False)


def test_kl_takes_classes_that_are_ruled_out() -> None:
    theirs = torch.tensor([[0.0, 1.0, -torch.inf]])
    ours = torch.tensor([[0.0, 1.0, -torch.inf]], requires_grad=True)
    loss = kl(ours, theirs)
    assert float(loss.detach()) == 0.0
    torch.autograd.backward(loss.sum())
    assert ours.grad is not None
    assert bool(ours.grad[:, :2].isfinite().all())


def test_soft_ce_has_the_gradient_of_kl_and_the_entropy_below(scores: tuple[Tensor, Tensor]) -> None:
    gradients = []
    for loss in (kl, soft_ce):
        ours = scores[0].clone().requires_grad_()
        torch.autograd.backward(loss(ours, scores[1], 2.0).sum())
        gradients.append(ours.grad)
    torch.testing.assert_close(*gradients)
    p = torch.softmax(scores[1] / 2, -1)
    torch.testing.assert_close(soft_ce(scores[1], scores[1], 2.0), -4 * (p * p.log()).sum(-1))


def test_hard_ce_is_cross_entropy_and_leaves_out_minus_100(scores: tuple[Tensor, Tensor]) -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, -100])
    expected = functional.cross_entropy(scores[0], labels, reduction="none")
    torch.testing.assert_close(hard_ce(scores[0], labels), expected)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_ofa_is_the_authors_formula(scores: tuple[Tensor, Tensor], power: float) -> None:
    ours, theirs = scores
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    by_hand = torch.zeros(6)
    for row, y in enumerate(labels.tolist()):
        for c in range(5):
            hit = float(c == y)
            weight = (float(torch.softmax(theirs[row], 0)[c]) + hit) ** power - hit
            by_hand[row] -= weight * float(torch.log_softmax(ours[row], 0)[c])
    torch.testing.assert_close(ofa(ours, theirs, labels, power), by_hand)


def test_ofa_at_power_one_is_the_soft_cross_entropy(scores: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ofa(*scores, labels=torch.zeros(6, dtype=torch.long)), soft_ce(*scores))


def test_ofa_without_labels_takes_the_teachers_best(scores: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ofa(*scores, power=1.5), ofa(*scores, scores[1].argmax(-1), power=1.5))
