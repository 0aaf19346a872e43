"""Adapters start where least squares puts them."""

from __future__ import annotations

import torch

from compressor.passes.recover.adapters import adapter, features_last, thinned


def test_an_affine_map_is_found() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(4, 50, 6), torch.randn(3, 6), torch.randn(3)
    layer = adapter(list(zip(x, x @ weight.T + bias, strict=True)))
    torch.testing.assert_close(layer.weight.detach(), weight, rtol=0.05, atol=0.05)
    torch.testing.assert_close(layer.bias.detach(), bias, rtol=0.05, atol=0.05)


def test_it_is_the_least_squares_solution_up_to_the_ridge() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(500, 5), torch.randn(500, 2)
    layer = adapter([(x, y)])
    ones = torch.cat([x, torch.ones(500, 1)], 1)
    best = torch.linalg.lstsq(ones, y).solution
    ours, theirs = (
        (ones @ w - y).square().mean() for w in (torch.cat([layer.weight.T, layer.bias[None]]).detach(), best)
    )
    assert float(theirs) <= float(ours) < 1.001 * float(theirs)


def test_few_vectors_are_not_fitted_by_huge_weights() -> None:
    torch.manual_seed(0)
    layer = adapter([(torch.randn(10, 40), torch.randn(10, 40))])
    assert float(layer.weight.detach().norm()) < 30


def test_a_fit_looks_at_the_same_positions_of_both() -> None:
    x = torch.arange(3000.0)[:, None]
    ours, theirs = thinned(x.view(30, 100, 1), x.view(30, 100, 1))
    assert ours.shape == (1024, 1)
    assert torch.equal(ours, theirs)


def test_features_go_last() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert features_last(x, 1).shape == (2, 4, 5, 3)
    assert features_last(x, -1) is x
