"""Instruction sets as kernels see them: how long a register is, how codes come out of bytes, how four products add up.

    total[l] ← total[l] + Σ_j w[l, j] · x[j],        j = 0 … 3, int32, exact for any bytes

AVX512-VNNI, AVX-VNNI   vpdpbusd: unsigned by signed bytes, no saturation (Intel's manual, volume 2)
AVX2                    vpmaddubsw adds pairs in 16 bits and saturates: only where the codes are so small that no pair
                        can; other bytes are widened to 16 bits first, and vpmaddwd adds pairs in 32
NEON with dotprod       sdot: signed by signed bytes, the activations taken by lane from a register of 16
NEON                    smull: products in 16 bits, which sadalp adds up in pairs

A description is all that a kernel knows of a processor. Weights are one operand of `dot` or several (halves that were
widened), made once for all rows; so are activations, once for all outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.packing import Layout

__all__ = ["AVX512_VNNI", "AVX_VNNI", "ISAS", "NEON_DOT", "Isa", "best_isa"]


@dataclass(frozen=True)
class Isa(ABC):
    """`features` are LLVM's names of what the processor must have; `lanes` of 32 bits make one of its `registers`.

    `rows` × `vectors` are the sums that a kernel for many rows holds in registers.
    """

    name: str
    features: frozenset[str]
    lanes: int
    registers: int
    rows: int
    vectors: int
    together: int = 1  # groups of activations that one load brings

    def layout(self, outputs: int, inputs: int, bits: int, block: int | None = None) -> Layout:
        """How weights lie for this instruction set. Raises InputError as `Layout` does."""
        return Layout(outputs, inputs, bits, self.lanes, self.vectors, block)

    @abstractmethod
    def zero(self, bits: int, lowest: int) -> int:
        """What is added to signed weights, of which the least is `lowest`, to make codes."""

    def shift(self, layout: Layout, field: int) -> int:
        """Bits by which a code comes out too large."""
        return layout.bits * field

    def weights(self, packed: Any, layout: Layout, field: int, zero: int) -> tuple[Any, ...]:
        """The codes of one field of a register of bytes (uint8), as `dot` takes them."""
        mask = (2**layout.bits - 1) << layout.bits * field
        return (packed if layout.fields == 1 else packed & T.broadcast(T.uint8(mask), 4 * self.lanes),)

    def activations(self, buffer: Any, row: Any, at: Any, run: int, layout: Layout, zero: int) -> list[Any]:
        """For each of `run` groups of four bytes, the operand of `dot` with that group in every lane."""
        return [self.operand(self.everywhere(buffer.vload([row, at + 4 * i], "int8x4")), zero) for i in range(run)]

    def everywhere(self, group: Any) -> Any:
        """Four bytes in all lanes."""
        return T.reinterpret(f"int8x{4 * self.lanes}", T.broadcast(T.reinterpret("int32", group), self.lanes))

    def operand(self, activations: Any, zero: int) -> tuple[Any, ...]:
        """Activations in all lanes as `dot` takes them."""
        return (T.bind(activations),)

    @abstractmethod
    def dot(self, total: Any, weights: tuple[Any, ...], activations: tuple[Any, ...]) -> Any:
        """`total` (int32) and in each lane the sum of four products."""


@dataclass(frozen=True)
class _Vnni(Isa):
    def zero(self, bits: int, lowest: int) -> int:
        return -lowest if bits < 8 else 128

    def dot(self, total: Any, weights: tuple[Any, ...], activations: tuple[Any, ...]) -> Any:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return T.call_llvm_pure_intrin(f"int32x{self.lanes}", name, total, *weights, *activations)


@dataclass(frozen=True)
class _NeonDot(Isa):
    def zero(self, bits: int, lowest: int) -> int:
        return -lowest if bits < 8 else 0

    def shift(self, layout: Layout, field: int) -> int:
        return 0 if field == layout.fields - 1 else layout.bits * field

    def weights(self, packed: Any, layout: Layout, field: int, zero: int) -> tuple[Any, ...]:
        """The highest field is shifted down, where masked it would be negative."""
        if layout.fields > 1 and field == layout.fields - 1:
            packed = T.shift_right(packed, T.broadcast(T.uint8(8 - layout.bits), 4 * self.lanes))
        else:
            [packed] = super().weights(packed, layout, field, zero)
        return (T.reinterpret(f"int8x{4 * self.lanes}", packed),)

    def activations(self, buffer: Any, row: Any, at: Any, run: int, layout: Layout, zero: int) -> list[Any]:
        """One load, and each group by its lane."""
        if run == 1:
            return super().activations(buffer, row, at, run, layout, zero)
        loaded = T.bind(T.reinterpret(f"int32x{run}", buffer.vload([row, at], f"int8x{4 * run}")))
        lanes = (tirx.Shuffle([loaded], [tirx.IntImm("int32", i)]) for i in range(run))
        return [(T.reinterpret(f"int8x{4 * self.lanes}", T.broadcast(lane, self.lanes)),) for lane in lanes]

    def dot(self, total: Any, weights: tuple[Any, ...], activations: tuple[Any, ...]) -> Any:
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", total, *weights, *activations)


AVX512_VNNI = _Vnni("avx512-vnni", frozenset({"avx512vnni"}), lanes=16, registers=32, rows=8, vectors=3)
AVX_VNNI = _Vnni("avx-vnni", frozenset({"avxvnni"}), lanes=8, registers=16, rows=4, vectors=2)
NEON_DOT = _NeonDot("neon-dotprod", frozenset({"dotprod"}), lanes=4, registers=32, rows=8, vectors=2, together=4)
ISAS = (AVX512_VNNI, AVX_VNNI, NEON_DOT)


def best_isa(features: Collection[str]) -> Isa | None:
    """The fastest of those that a processor with these LLVM features has; None where there is none."""
    return next((isa for isa in ISAS if isa.features <= set(features)), None)
