"""Instruction sets of x86-64.

AVX512-VNNI, AVX-VNNI   vpdpbusd: unsigned by signed bytes, no saturation (Intel's manual, volume 2)
AVX2                    vpmaddubsw adds pairs in 16 bits and saturates: for codes so small that no pair can; bytes are
                        widened to 16 bits first, even and odd ones apart, and vpmaddwd adds pairs in 32
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.instructions import Isa, Operand
from compressor.export.kernels.packing import Layout

__all__ = ["AVX2", "AVX512_VNNI", "AVX_VNNI"]

_PAIR = 2 * 128 - 1  # a pair's largest sum by one of activations, in the direction in which 16 bits hold less


@dataclass(frozen=True)
class _Vnni(Isa):
    def zero(self, bits: int, lowest: int) -> int:
        return -lowest if bits < 8 else 128

    def shifted(self, layout: Layout, field: int) -> bool:
        return False

    @property
    def unsigned_inputs(self) -> bool:
        return True

    def dot_bytes(self, total: Any, weights: Operand, activations: Operand) -> Any:
        return self.dot(total, activations, weights)

    def dot(self, total: Any, weights: Operand, activations: Operand) -> Any:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return T.call_llvm_pure_intrin(f"int32x{self.lanes}", name, total, *weights, *activations)


@dataclass(frozen=True)
class _Avx2(Isa):
    def shifted(self, layout: Layout, field: int) -> bool:
        return layout.fields > 1 and (layout.highest << layout.bits * field) * _PAIR >= 2**15

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        if layout.fields == 1:
            return self.operand(T.reinterpret("int8x32", packed), layout)
        if self.shifted(layout, field):  # no shift of bytes: bits of the next byte come in, and are masked
            moved = T.shift_right(T.reinterpret("uint16x16", packed), T.broadcast(T.uint16(layout.bits * field), 16))
            return (T.bind(T.reinterpret("uint8x32", moved) & T.broadcast(T.uint8(2**layout.bits - 1), 32)),)
        return super().weights(packed, layout, field)

    def operand(self, activations: Any, layout: Layout) -> Operand:
        return super().operand(activations, layout) if layout.fields > 1 else self.bytes_of(activations)

    def bytes_of(self, packed: Any) -> Operand:
        """Of bytes that meet bytes even and odd ones in 16 bits."""
        both, eight = T.bind(T.reinterpret("int16x16", packed)), T.broadcast(T.int16(8), 16)
        return (T.bind(T.shift_right(T.shift_left(both, eight), eight)), T.bind(T.shift_right(both, eight)))

    def dot(self, total: Any, weights: Operand, activations: Operand) -> Any:
        if len(weights) == 1:
            pairs = T.call_llvm_pure_intrin("int16x16", "llvm.x86.avx2.pmadd.ub.sw", *weights, *activations)
            return total + self._added(pairs, T.broadcast(T.int16(1), 16))
        for left, right in zip(weights, activations, strict=True):
            total = total + self._added(left, right)
        return total

    def _added(self, left: Any, right: Any) -> Any:
        return T.call_llvm_pure_intrin("int32x8", "llvm.x86.avx2.pmadd.wd", left, right)


AVX512_VNNI = _Vnni("avx512-vnni", frozenset({"avx512vnni"}), lanes=16, registers=32, rows=8, vectors=3)
AVX_VNNI = _Vnni("avx-vnni", frozenset({"avxvnni"}), lanes=8, registers=16, rows=4, vectors=2)
AVX2 = _Avx2("avx2", frozenset({"avx2", "fma"}), lanes=8, registers=16, rows=4, vectors=2)
