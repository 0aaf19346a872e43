"""The instruction sets that kernels are made for, the fastest of an architecture first: which does a processor have?

`x86.py` and `neon.py` describe them, in the terms of `instructions.py`.
"""

from __future__ import annotations

from collections.abc import Collection

from compressor.export.kernels.instructions import Isa, Operand
from compressor.export.kernels.neon import NEON, NEON_BYTES, NEON_DOT, NEON_I8MM
from compressor.export.kernels.x86 import AVX2, AVX512_VNNI, AVX_VNNI

__all__ = [
    "AVX2", "AVX512_VNNI", "AVX_VNNI", "ISAS", "NEON", "NEON_BYTES", "NEON_DOT", "NEON_I8MM", "Isa", "Operand",
    "best_isa",
]  # fmt: skip

ISAS = (AVX512_VNNI, AVX_VNNI, AVX2, NEON_I8MM, NEON_DOT, NEON, NEON_BYTES)


def best_isa(features: Collection[str]) -> Isa | None:
    """The fastest of those that a processor with these LLVM features has; None where there is none."""
    return next((isa for isa in ISAS if isa.features <= set(features)), None)
