"""Fading: by cosine from one path to the other while training, with the gradients of what is blended."""

from __future__ import annotations

import pytest
import torch

from compressor.quant.fade import dense_share, fade


@pytest.mark.parametrize(
    ("ramp", "share"), [(-1.0, 1.0), (0.0, 1.0), (0.25, 0.8536), (0.5, 0.5), (1.0, 0.0), (2.0, 0.0)]
)
def test_the_share_falls_by_cosine(ramp: float, share: float) -> None:
    assert dense_share(ramp) == pytest.approx(share, abs=1e-4)


def test_values_and_gradients_are_blended() -> None:
    dense, thin = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    result = fade(dense, thin, torch.tensor(0.25), True)
    torch.testing.assert_close(result, 0.8536 * dense + 0.1464 * thin, atol=1e-3, rtol=1e-3)
    torch.autograd.backward(result.sum())
    torch.testing.assert_close(dense.grad, torch.full((3, 4), dense_share(0.25)))
    torch.testing.assert_close(thin.grad, torch.full((3, 4), 1 - dense_share(0.25)))


@pytest.mark.parametrize(("ramp", "training"), [(0.25, False), (1.0, True)])
def test_what_is_faded_out_computes_nothing_and_learns_nothing(ramp: float, training: bool) -> None:
    dense, thin = torch.full((2,), torch.nan, requires_grad=True), torch.ones(2, requires_grad=True)
    result = fade(dense, thin, torch.tensor(ramp), training)
    assert torch.equal(result, thin)
    torch.autograd.backward(result.sum())
    assert dense.grad is None
    assert thin.grad is not None


def test_it_is_a_lawful_operator() -> None:
    args = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True), torch.tensor(0.3), True
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.compressor.fade.default, args, test_utils=tests)
