"""The best instruction set of a processor's."""

from __future__ import annotations

import pytest
from kernel_runs import tvm_features

from compressor.export.kernels.isa import (
    AVX2,
    AVX512_VNNI,
    AVX_VNNI,
    ISAS,
    NEON,
    NEON_DOT,
    NEON_I8MM,
    Isa,
    best_isa,
)

X86, ARM = "x86_64-linux-gnu", "aarch64-linux-gnu"


@pytest.mark.parametrize(
    ("triple", "cpu", "isa"),
    [
        (X86, "x86-64-v3", AVX2), (X86, "icelake-server", AVX512_VNNI), (X86, "alderlake", AVX_VNNI),
        (ARM, "cortex-a72", NEON), (ARM, "cortex-a76", NEON_DOT), (ARM, "neoverse-n1", NEON_DOT),
        *((ARM, cpu, NEON_I8MM) for cpu in ("cortex-a510", "cortex-x2", "neoverse-v1", "neoverse-n2", "apple-m2")),
    ],
)  # fmt: skip
def test_the_best_one_that_a_processor_has(triple: str, cpu: str, isa: Isa) -> None:
    assert best_isa(tvm_features({"kind": "llvm", "mtriple": triple, "mcpu": cpu})) is isa


def test_a_processor_may_have_none() -> None:
    assert best_isa({"sse2"}) is None


def test_each_has_a_name_of_its_own() -> None:
    assert len({isa.name for isa in ISAS}) == len(ISAS)
