"""Instruction sets as kernels see them: how long a register is, how codes come out of bytes, how four products add up.

    total[l] ← total[l] + Σ_j w[l, j] · x[j],        j = 0 … 3, int32, exact for any bytes

AVX512-VNNI, AVX-VNNI   vpdpbusd: unsigned by signed bytes, no saturation (Intel's manual, volume 2)
AVX2                    vpmaddubsw adds pairs in 16 bits and saturates: for codes so small that no pair can; bytes are
                        widened to 16 bits first, even and odd ones apart, and vpmaddwd adds pairs in 32
NEON with dotprod       sdot: signed by signed bytes, the activations taken by lane from a register of 16
NEON                    smull and smlal: products of small codes add up in 16 bits over four groups, of bytes in 32

A description is all that a kernel knows of a processor. Weights are one operand of `dot` or several (halves that were
widened), made once for all rows; so are activations, once for all outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.packing import Layout

__all__ = ["AVX2", "AVX512_VNNI", "AVX_VNNI", "ISAS", "NEON", "NEON_DOT", "Isa", "Operand", "best_isa"]

Operand = tuple[Any, ...]
_PAIR = 2 * 128 - 1  # a pair's largest sum by one of activations, in the direction in which 16 bits hold less


@dataclass(frozen=True)
class Isa(ABC):
    """`features` are LLVM's names of what the processor must have; `lanes` of 32 bits make one of its `registers`.

    `rows` (a power of two) × `vectors` are the sums that a kernel for many rows holds in registers. `together` groups
    of activations come with one load.
    """

    name: str
    features: frozenset[str]
    lanes: int
    registers: int
    rows: int
    vectors: int
    together: int = 1

    def layout(
        self, outputs: int, inputs: int, bits: int, block: int | None = None, *, lowest: int | None = None
    ) -> Layout:
        """How weights of which the least is `lowest` (−2^(bits−1) if not said) lie for this instruction set.

        Raises InputError as `Layout` does.
        """
        lowest = -(2 ** (bits - 1)) if lowest is None else lowest
        return Layout(outputs, inputs, bits, self.zero(bits, lowest), self.lanes, self.vectors, block)

    def zero(self, bits: int, lowest: int) -> int:
        """What is added to weights to make codes; nothing where bytes are multiplied as signed ones."""
        return -lowest if bits < 8 else 0

    def shift(self, layout: Layout, field: int) -> int:
        """Bits by which a code comes out too large: masked where it lies."""
        return 0 if self.shifted(layout, field) else layout.bits * field

    @abstractmethod
    def shifted(self, layout: Layout, field: int) -> bool:
        """Whether the field is moved down, because where it lies it would be too large for `dot`."""

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        """The codes of one field of a register of bytes (uint8), as `dot` takes them."""
        if layout.fields > 1:
            down = self.shifted(layout, field)
            packed = self.moved(packed, layout.bits * field) if down else packed
            if not down or field < layout.fields - 1:
                mask = (2**layout.bits - 1) << (0 if down else layout.bits * field)
                packed = packed & T.broadcast(T.uint8(mask), 4 * self.lanes)
        return (T.bind(packed),)

    def moved(self, packed: Any, bits: int) -> Any:
        """Bytes shifted to the right."""
        return T.shift_right(packed, T.broadcast(T.uint8(bits), 4 * self.lanes))

    def activations(self, buffer: Any, row: Any, at: Any, run: int, layout: Layout) -> list[Operand]:
        """For each of `run` groups of four bytes, the operand of `dot` with that group in every lane."""
        if run == 1:
            groups = [T.reinterpret("int32", buffer.vload([row, at], "int8x4"))]
        else:
            loaded = T.bind(T.reinterpret(f"int32x{run}", buffer.vload([row, at], f"int8x{4 * run}")))
            groups = [tirx.Shuffle([loaded], [tirx.IntImm("int32", i)]) for i in range(run)]
        spread = (T.reinterpret(f"int8x{4 * self.lanes}", T.broadcast(group, self.lanes)) for group in groups)
        return [self.operand(each, layout) for each in spread]

    def operand(self, activations: Any, layout: Layout) -> Operand:
        """Activations in all lanes as `dot` takes them."""
        return (T.bind(activations),)

    @abstractmethod
    def dot(self, total: Any, weights: Operand, activations: Operand) -> Any:
        """`total` (int32) and in each lane the sum of four products."""

    @property
    def unsigned_inputs(self) -> bool:
        """Whether `dot_bytes` takes activations as unsigned bytes."""
        return False

    def bytes_of(self, packed: Any) -> Operand:
        """A register of signed bytes, weights, as `dot_bytes` takes them."""
        return (T.bind(packed),)

    def input_bytes(self, group: Any) -> Operand:
        """Four bytes of activations in every lane, as `dot_bytes` takes them; `group` is an int32 of their bits."""
        kind = f"{'u' if self.unsigned_inputs else ''}int8x{4 * self.lanes}"
        return self.bytes_of(T.reinterpret(kind, T.broadcast(group, self.lanes)))

    def dot_bytes(self, total: Any, weights: Operand, activations: Operand) -> Any:
        """`total` (int32) and in each lane the sum of four products of bytes."""
        return self.dot(total, weights, activations)

    def dots(self, total: Any, weights: Sequence[Operand], activations: Sequence[Operand]) -> Any:
        """The same for groups that come together."""
        for left, right in zip(weights, activations, strict=True):
            total = self.dot(total, left, right)
        return total


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


@dataclass(frozen=True)
class _Neon(Isa):
    def shifted(self, layout: Layout, field: int) -> bool:
        """The highest field: where it lies it would be negative."""
        return layout.fields > 1 and field == layout.fields - 1

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        [codes] = super().weights(packed, layout, field)
        return (T.bind(T.reinterpret("int8x16", codes)),)

    def dot(self, total: Any, weights: Operand, activations: Operand) -> Any:
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", total, *weights, *activations)


@dataclass(frozen=True)
class _PlainNeon(_Neon):
    """The last operand of weights is their largest size: it says how long products may add up in 16 bits."""

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        [codes] = super().weights(packed, layout, field)
        size = 128 if layout.fields == 1 else layout.highest << self.shift(layout, field)
        return (*_halves(codes), size)

    def operand(self, activations: Any, layout: Layout) -> Operand:
        return self.bytes_of(activations)

    def bytes_of(self, packed: Any) -> Operand:
        return _halves(packed)

    def dot_bytes(self, total: Any, weights: Operand, activations: Operand) -> Any:
        return self.dots(total, [(*weights, 128)], [activations])

    def dot(self, total: Any, weights: Operand, activations: Operand) -> Any:
        return self.dots(total, [weights], [activations])

    def dots(self, total: Any, weights: Sequence[Operand], activations: Sequence[Operand]) -> Any:
        largest = weights[0][-1] * 128 * len(weights)
        halves = []
        for half in (0, 1):
            products = [_products(left[half], right[half]) for left, right in zip(weights, activations, strict=True)]
            halves.append(sum(products[1:], products[0]) if largest < 2**15 else _wide(products))
        low, high = halves
        if largest >= 2**15:
            return total + _pairs(low, high, 4)
        if 2 * largest <= 2**15:  # 2^15 itself is met by −128 alone, and negative
            return total + _in_pairs(_pairs(low, high, 8))
        return total + _pairs(_in_pairs(low), _in_pairs(high), 4)


def _products(left: Any, right: Any) -> Any:
    return T.call_llvm_pure_intrin("int16x8", "llvm.aarch64.neon.smull.v8i16", left, right)


def _wide(products: Sequence[Any]) -> Any:
    """The sum of all in 32 bits, neighbours together."""
    parts = [_in_pairs(each) for each in products]
    return sum(parts[1:], parts[0])


def _pairs(low: Any, high: Any, lanes: int) -> Any:
    """Neighbours of one register, then of the other, added up."""
    dtype = f"int{128 // lanes}x{lanes}"
    return T.call_llvm_pure_intrin(dtype, f"llvm.aarch64.neon.addp.v{lanes}i{128 // lanes}", low, high)


def _halves(register: Any) -> tuple[Any, Any]:
    indices = [tirx.IntImm("int32", i) for i in range(16)]
    return T.bind(tirx.Shuffle([register], indices[:8])), T.bind(tirx.Shuffle([register], indices[8:]))


def _in_pairs(products: Any) -> Any:
    """Neighbours added up in 32 bits."""
    return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products)


AVX512_VNNI = _Vnni("avx512-vnni", frozenset({"avx512vnni"}), lanes=16, registers=32, rows=8, vectors=3)
AVX_VNNI = _Vnni("avx-vnni", frozenset({"avxvnni"}), lanes=8, registers=16, rows=4, vectors=2)
AVX2 = _Avx2("avx2", frozenset({"avx2", "fma"}), lanes=8, registers=16, rows=4, vectors=2)
NEON_DOT = _Neon("neon-dotprod", frozenset({"dotprod"}), lanes=4, registers=32, rows=8, vectors=2, together=4)
NEON = _PlainNeon("neon", frozenset({"neon"}), lanes=4, registers=32, rows=8, vectors=2, together=4)
ISAS = (AVX512_VNNI, AVX_VNNI, AVX2, NEON_DOT, NEON)


def best_isa(features: Collection[str]) -> Isa | None:
    """The fastest of those that a processor with these LLVM features has; None where there is none."""
    return next((isa for isa in ISAS if isa.features <= set(features)), None)
