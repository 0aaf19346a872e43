"""Instruction sets of 64-bit Arm.

with i8mm      smmla: two rows by two outputs, four sums of eight products (Armv8.6, FEAT_I8MM); of one row sdot, which
               adds up the halves of eight products apart
with dotprod   sdot: signed by signed bytes, the activations taken by lane from a register of 16
without        smull and smlal: products add up in 16 bits as long as these hold them, then neighbours in 32; of bytes a
               lane takes two inputs of its output, so that sadalp adds to the sum itself

    smmla    sum[i, j] ← sum[i, j] + Σ_k x[i, k] · w[j, k],        i, j = 0, 1,  k = 0 … 7
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.instructions import Isa, Operand
from compressor.export.kernels.packing import Layout

__all__ = ["NEON", "NEON_BYTES", "NEON_DOT", "NEON_I8MM"]


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
class _NeonI8mm(_Neon):
    """Four outputs' weights are two registers, of two outputs by eight inputs each; activations are one, of two rows by
    eight, or of one row twice; a band's sums are two, of its rows by two outputs each.
    """

    def for_codes(self, channels: int = 0) -> Isa:
        return NEON_DOT if channels % 8 == 4 else self

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        low, high = _halves(packed, 16)
        return (*super().weights(low, layout, field), *super().weights(high, layout, field))

    def bytes_of(self, packed: Any) -> Operand:
        return _halves(packed, 16)

    def activations(self, loads: Sequence[Any], run: int, layout: Layout) -> list[Operand]:
        return self.input_bytes(loads, run)

    def input_bytes(self, loads: Sequence[Any], run: int = 1) -> list[Operand]:
        bound = [T.bind(load) for load in loads]
        pair = bound[0], bound[-1]
        return [(_side_by_side(pair, index, run, "int8x16"),) for index in range(run)]

    def band_dots(
        self, sums: Sequence[Any], weights: Sequence[Operand], activations: Sequence[Operand], rows: int
    ) -> list[Any]:
        return self.band_bytes(sums, weights, activations, rows)

    def band_bytes(
        self, sums: Sequence[Any], weights: Sequence[Operand], activations: Sequence[Operand], rows: int, *,
        narrow: bool = False,
    ) -> list[Any]:  # fmt: skip
        name = "llvm.aarch64.neon.smmla.v4i32.v16i8"
        for left, right in zip(weights, activations, strict=True):
            pairs = list(zip(sums, left, strict=True))
            if rows == 1:
                sums = [self.dot(total, (outputs,), right) for total, outputs in pairs]
            else:
                sums = [T.call_llvm_pure_intrin("int32x4", name, total, *right, outputs) for total, outputs in pairs]
        return list(sums)

    def by_row(self, sums: Sequence[Any], rows: int) -> list[Any]:
        if rows == 1:
            low, high = sums
            return [_pairs(low, high, 4)]
        pair = [T.bind(each) for each in sums]
        return [_side_by_side(pair, row, 2, "int32x4") for row in range(2)]

    def begun(self, outputs: Any, rows: int) -> list[Any]:
        outputs = T.bind(outputs)
        if rows == 1:
            nothing = T.broadcast(T.int32(0), 4)
            return [_shuffled([outputs, nothing], (first, 4, first + 1, 4)) for first in (0, 2)]
        return [_shuffled([outputs], (first, first + 1) * 2) for first in (0, 2)]


@dataclass(frozen=True)
class _PlainNeon(_Neon):
    """The last operand of weights is their largest size: it says how long products may add up in 16 bits."""

    def for_codes(self, channels: int = 0) -> Isa:
        return NEON_BYTES

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        [codes] = super().weights(packed, layout, field)
        size = 128 if layout.fields == 1 else layout.highest << self.shift(layout, field)
        return (*_halves(codes), size)

    def operand(self, activations: Any, layout: Layout) -> Operand:
        return self.bytes_of(activations)

    def bytes_of(self, packed: Any) -> Operand:
        return _halves(T.bind(packed))

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


@dataclass(frozen=True)
class _NeonBytes(_PlainNeon):
    """Sums of eight outputs, two inputs each, are two registers. The last operand of weights says how many products 16
    bits hold."""

    @property
    def at_once(self) -> int:
        return 16

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        low, high, size = super().weights(packed, layout, field)
        return low, high, _of_bytes(narrow=layout.narrow) if layout.fields == 1 else 2**15 // (128 * size)

    def dots(self, total: Any, weights: Sequence[Operand], activations: Sequence[Operand]) -> Any:
        return _summed(total, weights, activations, weights[0][-1])

    def byte_dots(self, total: Any, weights: Sequence[Operand], activations: Sequence[Operand], *, narrow: bool) -> Any:
        return _summed(total, weights, activations, _of_bytes(narrow=narrow))


def _of_bytes(*, narrow: bool) -> int:
    """Products of bytes that 16 bits hold: 2 · 127 · 128 < 2^15 = 2 · 128 · 128."""
    return 2 if narrow else 1


def _summed(total: Any, weights: Sequence[Operand], activations: Sequence[Operand], most: int) -> Any:
    """Products to the sums of eight outputs, at most so many in 16 bits."""
    total = T.bind(total)
    halves = []
    for half in (0, 1):
        products = [_products(left[half], right[half]) for left, right in zip(weights, activations, strict=True)]
        value = _shuffled([total], range(4 * half, 4 * half + 4))
        for start in range(0, len(products), most):
            first, *others = products[start : start + most]
            value = value + _in_pairs(sum(others, first))
        halves.append(value)
    return _shuffled(halves, range(8))


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


def _halves(register: Any, size: int = 8) -> tuple[Any, Any]:
    """The first numbers, and as many that follow."""
    low, high = range(size), range(size, 2 * size)
    return T.bind(_shuffled([register], low)), T.bind(_shuffled([register], high))


def _side_by_side(pair: Sequence[Any], index: int, count: int, kind: str) -> Any:
    """Of two registers of `count` × 64 bits those of that number: LLVM finds zip where numbers are as long."""
    long = "int64" if count == 1 else f"int64x{count}"
    both = _shuffled([T.reinterpret(long, each) for each in pair], (index, index + count))
    return T.bind(T.reinterpret(kind, both))


def _shuffled(registers: Sequence[Any], places: Iterable[int]) -> Any:
    """Numbers of registers, counted through all of them."""
    return tirx.Shuffle(list(registers), [tirx.IntImm("int32", place) for place in places])


def _in_pairs(products: Any) -> Any:
    """Neighbours added up in 32 bits."""
    return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products)


NEON_I8MM = _NeonI8mm(
    "neon-i8mm", frozenset({"dotprod", "i8mm"}), lanes=4, registers=32, rows=8, vectors=2, together=2, floats=4,
    group=8, band=2,
)  # fmt: skip
NEON_DOT = _Neon("neon-dotprod", frozenset({"dotprod"}), lanes=4, registers=32, rows=8, vectors=2, together=4, floats=4)
NEON = _PlainNeon("neon", frozenset({"neon"}), lanes=4, registers=32, rows=8, vectors=2, together=4, floats=4)
NEON_BYTES = _NeonBytes(
    "neon-bytes", frozenset({"neon"}), lanes=8, registers=16, rows=4, vectors=2, together=4, floats=4, group=2
)
