"""Slots: permutations that a seed regenerates, even loads, exact without compression, and gradients that fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.quant.slots import Grid, coefficients, expand_slots, fit_slots, grid_of, slots_of


def expanded(psi: Tensor, grid: Grid, count: int, seed: int = 3) -> Tensor:
    return torch.ops.compressor.expand_slots(psi, grid.rows, seed, [count], [1.0])


@pytest.mark.parametrize(("weights", "slots"), [(1, 1), (7, 3), (1000, 1000), (1000, 97), (50_000, 10_000)])
def test_each_partition_is_a_permutation_and_loads_are_even(weights: int, slots: int) -> None:
    grid = grid_of(weights, slots)
    assert slots <= grid.slots < slots + grid.rows
    assert grid.partitions == -(-weights // grid.slots)
    found, signs = slots_of(grid.slots * grid.partitions, grid, 0)
    parts = found.reshape(grid.partitions, -1).sort(-1).values
    assert torch.equal(parts, torch.arange(grid.slots).expand_as(parts))
    assert set(signs.tolist()) <= {-1, 1}
    load = torch.bincount(found[:weights], minlength=grid.slots)
    assert int(load.max() - load.min()) <= 1


def test_partitions_tie_weights_together_without_a_simple_rule() -> None:
    grid = grid_of(20_000, 10_000)
    first, second = (part.double() for part in slots_of(20_000, grid, 0)[0].reshape(2, -1))
    order = second[first.argsort()]  # where the second has what the first has in slot 0, 1, …
    for one, other in ((first[1:], first[:-1]), (order[1:], order[:-1]), (first, second)):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.1


def test_the_map_is_the_same_everywhere_and_another_with_another_seed() -> None:
    grid = grid_of(100, 25)
    assert coefficients(grid, 7)[0, :, 0, 0].tolist() == [1063512819, 1747034341, 1725694506]
    assert [part.tolist() for part in slots_of(6, grid, 7)] == [[16, 7, 18, 14, 20, 12], [-1, -1, -1, 1, -1, 1]]
    assert not torch.equal(slots_of(100, grid, 7)[0], slots_of(100, grid, 8)[0])


def test_without_compression_the_weights_come_back_bit_by_bit() -> None:
    torch.manual_seed(0)
    weights = torch.randn(1000)
    grid, scales = grid_of(1000, 1000), torch.full((1000,), 0.25)
    psi = fit_slots(weights, scales, grid, 3)
    assert torch.equal(0.25 * expanded(psi, grid, 1000), weights)


def test_the_fit_is_the_least_squares() -> None:
    torch.manual_seed(0)
    weights, grid = torch.randn(900, dtype=torch.float64), grid_of(900, 100)
    scales = torch.cat([torch.full((400,), 2.0), torch.full((500,), 0.5)]).double()
    psi = fit_slots(weights, scales, grid, 3).requires_grad_()
    slots, signs = slots_of(900, grid, 3)
    error = (scales * signs * psi[slots] - weights).square().sum()
    [gradient] = torch.autograd.grad(error, psi)
    assert float(gradient.abs().max()) < 1e-9
    assert float(error.detach()) < float(weights.square().sum())


def test_a_step_is_the_dense_one_without_compression_whatever_the_scale() -> None:
    torch.manual_seed(0)
    gradient, grid = torch.randn(64), grid_of(64, 64)
    for scale in (0.125, 1.0, 8.0):
        psi = torch.randn(64, requires_grad=True)
        weights = scale * expand_slots(psi, grid.rows, 3, [64], [scale])
        [step] = torch.autograd.grad(weights, psi, gradient)
        assert torch.allclose(scale * expanded(step, grid, 64), gradient, atol=1e-6)


def test_a_step_is_the_nearest_to_the_dense_one() -> None:
    torch.manual_seed(0)
    gradient, grid, sizes, scales = torch.randn(90), grid_of(90, 30), [40, 50], [2.0, 0.5]
    each = torch.cat([torch.full((n,), s) for n, s in zip(sizes, scales, strict=True)])
    psi = torch.randn(grid.slots, requires_grad=True)
    [step] = torch.autograd.grad(each * expand_slots(psi, grid.rows, 3, sizes, scales), psi, gradient)
    assert torch.allclose(step, fit_slots(gradient, each, grid, 3), atol=1e-5)


def test_nothing_to_lay_out() -> None:
    with pytest.raises(ValueError, match="0 slots"):
        grid_of(10, 0)
