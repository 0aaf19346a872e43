"""Activations in codes: as quant/ rounds them, to the last bit, with their sums; what is not finite shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_runs import here, rounded

from compressor.quant.blocks import round_by_block
from compressor.quant.formats import INT8, QParams, quantize

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)


@each
@pytest.mark.parametrize(("rows", "width"), [(1, 4096), (9, 77), (3, 5)])
def test_a_row_is_rounded_as_one_block(isa, rows: int, width: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(width)
    x = torch.randn(rows, width) * torch.logspace(-8, 8, rows)[:, None]
    x[:, ::3] = (x[:, ::3] / x.abs().amax(-1, keepdim=True) * 254).round() / 254 * x.abs().amax(-1, keepdim=True)
    codes, scales, sums = rounded(isa, x)
    assert torch.equal(torch.from_numpy(codes[:, :width].astype(np.float32) * scales), round_by_block(x, width))
    assert np.array_equal(sums[:, 0], codes[:, :width].astype(np.int64).sum(1))
    padded = isa.layout(1, width, 2).width
    assert not codes[:, width:padded].any()


@each
def test_sums_are_taken_by_block_where_weights_have_blocks(isa) -> None:  # type: ignore[no-untyped-def]
    codes, _, sums = rounded(isa, torch.randn(2, 150), block=64)
    assert sums.shape == (2, 3)
    assert np.array_equal(sums, codes[:, :192].reshape(2, 3, 64).astype(np.int64).sum(2))


@each
@pytest.mark.parametrize("block", [32, 128])
def test_blocks_round_for_themselves(isa, block: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(block)
    x = torch.randn(3, 300) * torch.logspace(-2, 2, 300)
    codes, scales, sums = rounded(isa, x, block, by_block=True)
    values = codes[:, :300].astype(np.float32) * np.repeat(scales, block, 1)[:, :300]
    assert torch.equal(torch.from_numpy(values), round_by_block(x, block))
    assert sums.shape == scales.shape == (3, -(-300 // block))


@each
def test_a_scale_that_is_given(isa) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    x = torch.randn(3, 100) * 3
    x[:, 0] = 2.5 * 0.04
    codes, scales, _ = rounded(isa, x, scale=0.04)
    qparams = QParams(torch.tensor(0.04), torch.tensor(0, dtype=torch.int8), INT8)
    assert np.array_equal(codes[:, :100], quantize(x, qparams).numpy())
    assert (scales == np.float32(0.04)).all()


@each
def test_rows_of_nothing_and_rows_that_are_not_finite(isa) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(4, 40)
    x[0], x[1], x[2, 7], x[3, 39] = 0, 1e-37, torch.nan, torch.inf
    codes, scales, _ = rounded(isa, x)
    assert not codes[:2, :40].any()
    assert np.isfinite(scales[:2]).all()
    assert np.isnan(scales[2:]).all()
