"""Blocks of sums: what fits the registers, and covers what there is with little left over."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm")

from compressor.export.kernels.isa import AVX2, AVX512_VNNI, NEON, NEON_I8MM
from compressor.export.kernels.tiling import tiling


@pytest.mark.parametrize("isa", [AVX512_VNNI, AVX2, NEON], ids=lambda isa: isa.name)
@pytest.mark.parametrize("across", [1, 2, 7, 14, 56, 128])
@pytest.mark.parametrize("columns", [1, 2, 5, 16])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_block_fits_the_registers_and_the_output(  # type: ignore[no-untyped-def]
    isa, across: int, columns: int, loaded: bool
) -> None:
    run = isa.floats if loaded else 1
    found = tiling(isa, across, columns, 64, run)
    inputs = found.rows * 4 / isa.lanes if run > 1 else 1
    assert found.rows * found.vectors + found.vectors + inputs <= isa.registers
    assert 1 <= found.rows <= across
    assert 1 <= found.vectors <= columns


@pytest.mark.parametrize("across", [1, 2, 7, 14, 128])
def test_sums_of_bands_fit_the_registers_with_twice_the_weights(across: int) -> None:
    found = tiling(NEON_I8MM, across, 4, 64, band=NEON_I8MM.band)
    bands = -(-found.rows // 2)
    assert 2 * bands * found.vectors + 2 * found.vectors + 1 <= NEON_I8MM.registers


def test_lines_are_cut_without_rests_where_that_is_dear() -> None:
    assert 7 % tiling(AVX512_VNNI, 7, 32, 2048).rows == 0
    assert tiling(AVX512_VNNI, 56, 4, 576).rows * tiling(AVX512_VNNI, 56, 4, 576).vectors >= 20
