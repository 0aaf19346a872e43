"""Instruction sets: which a processor has, what its kernels are made of, and that they compile for boards."""

from __future__ import annotations

import re

import pytest
from kernel_runs import assembly, here, tvm_features

from compressor.export.kernels.isa import AVX2, AVX512_VNNI, AVX_VNNI, NEON, NEON_DOT, Isa, best_isa
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.product import product

LINUX = "aarch64-linux-gnu"
A72 = {"kind": "llvm", "mtriple": LINUX, "mcpu": "cortex-a72"}
A76 = {"kind": "llvm", "mtriple": LINUX, "mcpu": "cortex-a76"}
ANY_X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu"}


def _made(isa: Isa, rows: int, bits: int, target: dict[str, str]) -> str:
    layout = isa.layout(2 * isa.lanes * isa.vectors, 256, bits, lowest=-1 if bits == 2 else -128)
    return assembly(product(Product(isa, layout, rows)), target)


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("rows", [1, 8])
def test_boards_with_dot_products_use_them(rows: int, bits: int) -> None:
    code = _made(NEON_DOT, rows, bits, A76)
    assert re.search(r"sdot\s+v\d+\.4s, v\d+\.16b, v\d+\.4b\[[0-3]\]", code), "activations are taken by lane"
    assert "smlal" not in code


@pytest.mark.parametrize("bits", [2, 8])
def test_boards_without_do_without(bits: int) -> None:
    code = _made(NEON, 8, bits, A72)
    assert "sdot" not in code
    assert re.search(r"smull2?\s", code)
    assert "sadalp" in code or "saddlp" in code


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_avx2_adds_pairs_that_cannot_saturate(bits: int) -> None:
    code = _made(AVX2, 4, bits, {**ANY_X86, "mcpu": "haswell"})
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
    assert re.search(rf"vpdpbusd\s.*%{register}", _made(isa, 8, 2, {**ANY_X86, "mcpu": mcpu}))


def test_the_best_one_that_a_processor_has() -> None:
    assert best_isa(tvm_features(A76)) is NEON_DOT
    assert best_isa(tvm_features(A72)) is NEON
    assert best_isa(tvm_features({**ANY_X86, "mcpu": "x86-64-v3"})) is AVX2
    assert best_isa(tvm_features({**ANY_X86, "mcpu": "icelake-server"})) is AVX512_VNNI
    assert best_isa(tvm_features({**ANY_X86, "mcpu": "alderlake"})) is AVX_VNNI
    assert best_isa({"sse2"}) is None


def test_bytes_are_signed_where_the_dot_product_is() -> None:
    assert NEON_DOT.zero(8, -128) == 0
    assert AVX512_VNNI.zero(8, -128) == 128
    assert {isa.zero(2, -1) for isa in here()} == {1}
