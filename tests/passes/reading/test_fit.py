"""Least squares that know when they fit nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.passes.reading.fit import fitted, products


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_what_is_missing_is_found() -> None:
    x, missing = drawn(4000, 12), drawn(5, 12, seed=1)
    step = fitted(x, x @ missing.T + 0.01 * drawn(4000, 5, seed=2))
    assert step is not None
    assert float((step - missing).norm() / missing.norm()) < 0.02


def test_noise_is_not_fitted() -> None:
    assert fitted(drawn(40, 30), drawn(40, 5, seed=1)) is None


def test_rows_that_are_not_finite() -> None:
    assert fitted(drawn(40, 3) * float("nan"), drawn(40, 5, seed=1)) is None
    assert fitted(torch.full((40, 3), 1e30), drawn(40, 5, seed=1)) is None


def test_products_are_sums_over_all_rows() -> None:
    x, r = drawn(5000, 6), drawn(5000, 2, seed=1)
    gram, cross = products(x, r)
    assert torch.allclose(gram, (x.double().T @ x.double()), rtol=1e-4, atol=1e-2)
    assert torch.allclose(cross, (x.double().T @ r.double()), rtol=1e-4, atol=1e-2)
