"""What kernels for x86-64 are made of."""

from __future__ import annotations

import re

import pytest
from kernel_runs import assembly

from compressor.export.kernels.instructions import Isa
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.product import product
from compressor.export.kernels.x86 import AVX2, AVX512_VNNI, AVX_VNNI


def _made(isa: Isa, rows: int, bits: int, cpu: str) -> str:
    layout = isa.layout(2 * isa.lanes * isa.vectors, 256, bits, lowest=-1 if bits == 2 else -128)
    return assembly(product(Product(isa, layout, rows)), {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": cpu})


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_avx2_adds_pairs_that_cannot_saturate(bits: int) -> None:
    code = _made(AVX2, 4, bits, "haswell")
    assert ("vpmaddubsw" in code) == (bits < 8)
    assert "vpmaddwd" in code
    for lowest in (-1, -(2 ** (bits - 1))):
        layout = AVX2.layout(8, 64, bits, lowest=lowest)
        shifts = [AVX2.shift(layout, field) for field in range(layout.fields)]
        assert bits == 8 or max(layout.highest << shift for shift in shifts) * 256 <= 2**15
    assert AVX2.shift(AVX2.layout(8, 64, 2, lowest=-1), 3) == 6, "ternary codes are masked in every field"


@pytest.mark.parametrize(
    ("isa", "register", "mcpu"), [(AVX512_VNNI, "zmm", "icelake-server"), (AVX_VNNI, "ymm", "alderlake")]
)
def test_vnni_uses_the_whole_register(isa: Isa, register: str, mcpu: str) -> None:
    assert re.search(rf"vpdpbusd\s.*%{register}", _made(isa, 8, 2, mcpu))
