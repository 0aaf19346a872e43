"""What instruction sets have in common: signs of bytes, and bands of rows."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm")

from compressor.export.kernels.isa import AVX512_VNNI, ISAS, NEON_DOT, NEON_I8MM, Isa

each = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)


def test_bytes_are_signed_where_the_dot_product_is() -> None:
    assert NEON_DOT.zero(8, -128) == NEON_I8MM.zero(8, -128) == 0
    assert AVX512_VNNI.zero(8, -128) == 128
    assert {isa.zero(2, -1) for isa in ISAS} == {1}


@each
def test_bands_are_all_rows_in_turn(isa: Isa) -> None:
    for count in (1, 2, 5, 8):
        bands = isa.bands(range(count))
        assert [row for band in bands for row in band] == [*range(count)]
        assert all(len(band) == isa.band for band in bands[:-1])


@each
def test_the_sums_of_many_rows_and_their_operands_fit_the_registers(isa: Isa) -> None:
    assert isa.rows % isa.band == 0
    assert isa.rows * isa.vectors + isa.vectors * isa.band + 1 <= isa.registers


@each
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_register_of_weights_holds_a_group_of_each_lane(isa: Isa, bits: int) -> None:
    layout = isa.layout(3, 100, bits)
    assert (layout.lanes, layout.group, layout.register) == (isa.lanes, isa.group, isa.lanes * isa.group)
    assert layout.run % min(isa.together, layout.run) == 0
    assert layout.chunk == 16 * layout.fields
