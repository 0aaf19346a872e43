"""Many rows: fields in the order of Horner's rule, and no code in the loop but masks, loads and dot products."""

from __future__ import annotations

import re

from kernel_runs import assembly

from compressor.export.kernels.isa import AVX512_VNNI
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.product import product

ICE_LAKE = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "icelake-server"}


def _loops(rows: int) -> list[str]:
    layout = AVX512_VNNI.layout(480, 1024, 2, lowest=-1)
    code = assembly(product(Product(AVX512_VNNI, layout, rows)), ICE_LAKE)
    return [part for part in re.split(r"^\.L\w+:", code, flags=re.MULTILINE) if "vpdpbusd" in part]


def test_a_field_after_another_with_all_sums_in_registers() -> None:
    loops = [part for part in _loops(8) if part.count("vpdpbusd") >= 24]
    assert len(loops) == 4
    for loop in loops:
        body = loop[: loop.rindex("vpdpbusd")]
        assert loop.count("vpdpbusd") % 24 == 0
        assert "(%rsp)" not in body, "nothing is spilled"
        assert not re.search(r"vpsr|vpsl", body)
