"""Factors: the optimum that they claim to be, exact at full rank, and their ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.passes.factorizing.svd import Factors, balanced, decompose, decompose_table, definite


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def skewed(inputs: int, rows: int = 500) -> Tensor:
    """Inputs of very different sizes that go together."""
    mixing = drawn(inputs, inputs, seed=1) * torch.logspace(0, -2, inputs, dtype=torch.float64)
    return drawn(rows, inputs, seed=2) @ mixing.T


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_the_plain_cut_is_the_svd(shape: tuple[int, int]) -> None:
    weight = drawn(*shape)
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    spectrum = decompose(weight)
    for rank in (1, 7, 20):
        expected = (left[:, :rank] * values[:rank]) @ right[:rank]
        assert torch.allclose(spectrum.cut(rank).product, expected, atol=1e-9)
        assert spectrum.error(rank) == pytest.approx(float(values[rank:].norm() / values.norm()))
    assert torch.allclose(spectrum.energies.sqrt(), values)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_with_inputs_it_is_the_best_of_the_outputs(shape: tuple[int, int]) -> None:
    weight, x = drawn(*shape), skewed(shape[1])
    root = torch.linalg.cholesky(x.T @ x)
    values = torch.linalg.svdvals(weight @ root)
    spectrum = decompose(weight, x.T @ x, damping=1e-12)
    plain = decompose(weight)
    whole = (x @ weight.T).norm()
    for rank in (1, 7, 20):
        lost = (x @ (weight - spectrum.cut(rank).product).T).norm() / whole
        assert float(lost) == pytest.approx(float(values[rank:].norm() / values.norm()), rel=1e-5)
        assert float(lost) == pytest.approx(spectrum.error(rank), rel=1e-4)
        assert lost < (x @ (weight - plain.cut(rank).product).T).norm() / whole


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
@pytest.mark.parametrize("rows", [0, 5, 500])
def test_full_rank_loses_nothing(shape: tuple[int, int], rows: int) -> None:
    """Even where fewer inputs were seen than there are dimensions."""
    weight, x = drawn(*shape), skewed(shape[1], rows) if rows else None
    factors = decompose(weight, None if x is None else x.T @ x).cut(min(shape))
    assert torch.allclose(factors.product, weight, atol=1e-6)
    assert torch.allclose(factors.first.norm(dim=1), factors.second.norm(dim=0), rtol=1e-6)


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    x = skewed(16)
    x[:, 3] = 0.0
    spectrum = decompose(drawn(30, 16), x.T @ x)
    assert bool(torch.isfinite(spectrum.cut(9).product).all())
    assert float((x @ (drawn(30, 16) - spectrum.cut(16).product).T).norm()) < 1e-6
    nothing = decompose(drawn(30, 16), torch.zeros(16, 16))
    assert bool(torch.isfinite(nothing.cut(4).product).all())


def test_ranks_by_energy() -> None:
    spectrum = decompose(torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0])))
    assert spectrum.full == 4
    assert [spectrum.rank_of(energy) for energy in (0.5, 9 / 14, 0.9, 13 / 14, 1.0)] == [1, 1, 2, 2, 3]
    assert spectrum.error(2) == pytest.approx((1 / 14) ** 0.5)
    assert spectrum.error(4) == 0.0


def test_a_weight_of_zeros() -> None:
    spectrum = decompose(torch.zeros(3, 5))
    assert spectrum.error(1) == 0.0
    assert spectrum.rank_of(0.9) == 1
    assert not spectrum.cut(1).product.any()


def test_balancing_leaves_the_product() -> None:
    factors = Factors(drawn(3, 8) * 100, drawn(6, 3, seed=1) / 100)
    even = balanced(factors)
    assert torch.allclose(even.product, factors.product)
    assert torch.allclose(even.first.norm(dim=1), even.second.norm(dim=0))
    assert even.rank == 3


def test_an_indefinite_matrix_gets_a_larger_ridge() -> None:
    gram = torch.diag(torch.tensor([1.0, 1.0, -0.01], dtype=torch.float64))
    damped, lower = definite(gram)
    assert torch.allclose(lower @ lower.T, damped)
    assert float(damped[2, 2]) > 0
    hopeless, _ = definite(torch.diag(torch.tensor([1.0, -1e9], dtype=torch.float64)))
    assert torch.equal(hopeless, torch.eye(2, dtype=torch.float64))


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"\(4, 3\) and a gram matrix \(4, 4\)"):
        decompose(drawn(4, 3), drawn(4, 4))
    with pytest.raises(InputError, match=r"\(4,\) cannot"):
        decompose(drawn(4))
    with pytest.raises(InputError, match="NaN"):
        decompose(torch.full((2, 2), float("nan")))
    for rank in (0, 4):
        with pytest.raises(InputError, match=f"the rank is {rank}, not one of 1 to 3"):
            decompose(drawn(4, 3)).cut(rank)


def test_a_table_is_cut_for_the_rows_that_are_read() -> None:
    table, weights = drawn(30, 12), torch.logspace(0, -3, 30, dtype=torch.float64)
    root = weights.sqrt()[:, None]
    values = torch.linalg.svdvals(table * root)
    spectrum = decompose_table(table, weights)
    for rank in (2, 7):
        lost = ((table - spectrum.cut(rank).product) * root).norm()
        assert float(lost) == pytest.approx(float(values[rank:].norm()))
        assert spectrum.error(rank) == pytest.approx(float(values[rank:].norm() / values.norm()))
    assert torch.allclose(spectrum.cut(12).product, table, atol=1e-9)
    wide = decompose_table(table.T, torch.ones(12))
    assert wide.full == 12
    assert torch.allclose(wide.cut(12).product, table.T, atol=1e-9)
    with pytest.raises(InputError, match=r"\(30, 12\) and weights \(12,\)"):
        decompose_table(table, torch.ones(12))
    with pytest.raises(InputError, match="NaN"):
        decompose_table(table * float("nan"), weights)
