"""Refitted scales: the least output error for given codes, however many share one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from compressor.quant.blocks import INT3, TERNARY
from compressor.quant.grids import SHARES, Share, find_grid, ternary_grid
from compressor.quant.solvers.refit import output_error, refit


def problem() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 24, generator=random) @ torch.randn(24, 80, generator=random)
    return torch.randn(6, 80, generator=random), inputs.T @ inputs


@pytest.mark.parametrize("share", SHARES)
def test_no_other_scales_do_better(share: Share) -> None:
    weight, gram = problem()
    grid = ternary_grid(weight, TERNARY, 32, share=share)
    codes = grid.codes(weight)
    found = refit(weight, gram, codes, grid, share)
    least = output_error(weight, found.values(codes), gram)
    assert least < output_error(weight, grid.values(codes), gram)
    random = torch.Generator().manual_seed(1)
    for _ in range(20):
        shape = {"block": grid.scale.shape, "row": (6, 1), "tensor": (1, 1)}[share]
        other = replace(found, scale=found.scale * (1 + 0.02 * torch.randn(shape, generator=random)))
        assert least <= output_error(weight, other.values(codes), gram) * (1 + 1e-6)
    assert len(found.scale.unique()) == {"block": 18, "row": 6, "tensor": 1}[share]


def test_blocks_without_codes_keep_their_scale() -> None:
    weight, gram = problem()
    weight[0, :32] = 0.0
    grid = find_grid(weight, INT3, 32)
    found = refit(weight, gram, grid.codes(weight), grid)
    assert float(found.scale[0, 0]) == pytest.approx(1.0, rel=1e-3)
    assert bool(found.scale.isfinite().all())


def test_two_scales_are_left_alone() -> None:
    weight, gram = problem()
    grid = ternary_grid(weight, TERNARY, 32, rule="minmax")
    assert refit(weight, gram, grid.codes(weight), grid) is grid
