"""Grids: codes stand for themselves, searches lower what they say they lower, whatever the weights are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.blocks import BLOCK_FORMATS, INT4, TERNARY, blocks_of, dequantize_blocks
from compressor.quant.formats import INT7, INT8, Format
from compressor.quant.grids import SHARES, Grid, Search, Share, find_grid, ternary_grid
from compressor.quant.ternary import RULES, Rule

FORMATS = [INT8, INT7, *(f for f in BLOCK_FORMATS.values() if f is not TERNARY)]
SEARCHES: list[Search] = ["nearest", "mse", "hqq"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(weight: Tensor, grid: Grid, norm: float = 2.0) -> float:
    return float((weight - grid.values(grid.codes(weight))).abs().pow(norm).sum())


def grids(weight: Tensor, block: int) -> list[Grid]:
    uniform = [find_grid(weight, fmt, block, search) for fmt in FORMATS for search in SEARCHES]
    return uniform + [
        ternary_grid(weight, TERNARY, block, share=share, rule=rule) for share in SHARES for rule in RULES
    ]


@given(st.tuples(st.integers(1, 5), st.integers(1, 150)), st.sampled_from([32, 64]), st.integers(-140, 30))
@settings(max_examples=20, deadline=None)
def test_codes_stand_for_themselves(shape: tuple[int, int], block: int, power: int) -> None:
    """From denormal weights to large ones, with zeros among them."""
    weight = normal(*shape, seed=abs(power)) * 2.0**power
    weight[:, ::5] = 0.0
    for grid in grids(weight, block):
        codes = grid.codes(weight)
        assert bool(grid.scale.isfinite().all())
        assert int(codes.min()) >= grid.format.low
        assert int(codes.max()) <= grid.format.high
        assert not codes[:, ::5].any(), "zero is exact"
        assert torch.equal(grid.values(grid.codes(grid.values(codes))), grid.values(codes))
        assert torch.equal(grid.column(weight[:, -1].double(), shape[1] - 1)[0].to(torch.int8), codes[:, -1]) or (
            power < -90  # where single precision runs out
        )


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_searches_lower_their_own_error(fmt: Format) -> None:
    weight = normal(16, 256) * (1 + 9 * (normal(16, 256, seed=1) > 2.5))
    nearest, mse, hqq = (find_grid(weight, fmt, 64, search) for search in SEARCHES)
    assert error(weight, mse) <= error(weight, nearest)
    assert error(weight, hqq, 0.7) <= error(weight, mse, 0.7)
    assert error(weight, mse) <= 1.02 * error(weight, hqq), "as fine as its candidates are"


def test_outliers_do_not_move_the_robust_scale() -> None:
    """Half of the weights' error is worth more than one outlier's."""
    weight = normal(8, 128)
    weight[:, 0] = 12.0
    rest = weight[:, 1:]
    [mse, hqq] = [find_grid(weight, INT4, 128, search) for search in ("mse", "hqq")]
    lost = [(rest - grid.values(grid.codes(weight))[:, 1:]).square().sum() for grid in (mse, hqq)]
    assert float(lost[1]) < float(lost[0])


def test_a_scale_a_row_or_a_tensor_is_every_blocks() -> None:
    weight = normal(4, 128) * torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    kinds: dict[Share, int] = {"block": 16, "row": 4, "tensor": 1}
    for share, distinct in kinds.items():
        for search in ("mse", "hqq"):
            scale = ternary_grid(weight, TERNARY, 32, share=share, search=search).scale
            assert scale.shape == (4, 4)
            assert len(scale.unique()) == distinct


@pytest.mark.parametrize("rule", RULES)
def test_ternary_grids_are_what_their_rule_says(rule: Rule) -> None:
    weight = normal(4, 64)
    grid = ternary_grid(weight, TERNARY, 64, share="row", rule=rule)
    expected = {"absmean": weight.abs().mean(1), "minmax": weight.amax(1)}.get(rule)
    if expected is not None:
        torch.testing.assert_close(grid.scale[:, 0], expected)
    assert (grid.below is None) == (rule != "minmax")


def test_two_scales_are_exactly_the_sum_of_two_products() -> None:
    weight = normal(6, 96).abs() - 0.4
    grid = ternary_grid(weight, TERNARY, 32, share="row", rule="minmax")
    codes = grid.codes(weight)
    parts = blocks_of(codes, grid)
    assert len(parts) == 2
    torch.testing.assert_close(sum(map(dequantize_blocks, parts)), grid.values(codes))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    weight = normal(2, 32)
    weight[0, 3] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        find_grid(weight, INT8)
    with pytest.raises(InputError, match="NaN or infinite"):
        ternary_grid(weight, TERNARY, 32)


def test_what_is_no_matrix_is_refused() -> None:
    for weight in (normal(4), normal(2, 3, 4), torch.zeros(0, 3)):
        with pytest.raises(InputError, match="no matrix"):
            find_grid(weight, INT8)
