"""One row and two: all fields' sums stay in registers, and every byte is loaded once."""

from __future__ import annotations

import re

from kernel_runs import assembly

from compressor.export.kernels.few_rows import fits
from compressor.export.kernels.isa import AVX512_VNNI, AVX_VNNI, NEON_I8MM, Isa
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.panel import Panel
from compressor.export.kernels.product import product

ICE_LAKE = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "icelake-server"}


def _panel(isa: Isa, rows: int, bits: int) -> Panel:
    return Panel(isa, isa.layout(480, 256, bits), None, tuple(range(rows)), None, 0, isa.vectors)


def test_what_fits_in_registers() -> None:
    assert fits(_panel(AVX512_VNNI, 1, 2))
    assert not fits(_panel(AVX512_VNNI, 3, 2))
    assert fits(_panel(AVX512_VNNI, 8, 8))
    assert not fits(_panel(AVX_VNNI, 2, 2))
    assert fits(_panel(NEON_I8MM, 2, 2))
    assert not fits(_panel(NEON_I8MM, 3, 2)), "a row alone takes as many registers as a pair"


def test_one_row_shifts_no_codes_and_keeps_its_sums_in_registers() -> None:
    layout = AVX512_VNNI.layout(480, 4096, 2, lowest=-1)
    code = assembly(product(Product(AVX512_VNNI, layout, 1)), ICE_LAKE)
    lines = code.splitlines()
    places = [number for number, line in enumerate(lines) if "vpdpbusd" in line]
    loop = lines[places[0] : places[-1]]
    assert len(places) % 12 == 0
    assert not [line for line in loop if re.search(r"vpsr|vmovd?q?[ua]\w*\s+%zmm\d+, .*\(", line)]
    assert sum("prefetcht0" in line for line in lines) * 4 == len(places)
