"""What the innermost loops work on: rows of activations and one tile of weights, of which they make exact sums.

    total[r, v] = Σ_k code[v, k] · x[r, k]        int32, over a range of chunks (`packing.py`)

The sums are registers that live in an array with constant indices, which LLVM keeps in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder.tirx import prim_func

from compressor.export.kernels.isa import Isa, Operand
from compressor.export.kernels.packing import Layout

__all__ = [
    "Panel",
    "Registers",
    "RowFigure",
    "body",
    "each_row",
    "function",
    "registers",
    "row_figure",
    "splat",
    "stacked",
    "typed",
    "zeros",
]

_AHEAD = 8192  # bytes: two pages, so that a page is known before its first byte is needed
_NEAREST = 3  # llvm.prefetch: into all caches
_FEW = 8  # rows that are not worth waking other threads for
_STACK = 1024  # bytes, from which on TVM allocates an array elsewhere


@dataclass(frozen=True)
class Panel:
    """`rows` of the buffer `activations` (int8, by row) and the tile at byte `start` of `weights` (uint8, flat)."""

    isa: Isa
    layout: Layout
    activations: Any
    rows: tuple[Any, ...]
    weights: Any
    start: Any
    vectors: int

    @property
    def bands(self) -> list[tuple[Any, ...]]:
        """Rows that meet weights at once."""
        return self.isa.bands(self.rows)

    @property
    def count(self) -> int:
        """Registers of totals, by row and vector."""
        return len(self.rows) * self.vectors

    @property
    def sums(self) -> int:
        """Registers while it is added up, by band and vector."""
        return len(self.bands) * self.vectors * self.isa.band

    def zeros(self) -> Any:
        return splat(T.int32(0), self.isa.lanes)

    @contextmanager
    def parts(self, first: Any, chunks: Any) -> Iterator[tuple[Any, Any]]:
        """The loops over chunks, and over the groups of each as far as the instruction set takes them one by one."""
        with T.serial(0, chunks) as step:
            if self.layout.run == self.together:
                yield first + step, 0
                return
            with T.serial(0, self.layout.run // self.together) as part:
                yield first + step, part * self.together

    @property
    def together(self) -> int:
        """Groups whose activations are loaded at once."""
        return min(self.isa.together, self.layout.run)

    def packed(self, chunk: Any, group: Any, vector: int) -> Any:
        """One register of bytes of the tile."""
        return self.weights.vload([self._place(chunk, group, vector)], f"uint8x{self.layout.register}")

    def prefetch(self, chunk: Any, group: Any, vector: int) -> None:
        """Ask for the bytes that come some steps later: processors' own prefetchers stop at the ends of pages."""
        later = T.address_of(self.weights[self._place(chunk, group, vector) + _AHEAD])
        T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", later, T.int32(0), T.int32(_NEAREST), T.int32(1)))

    def _place(self, chunk: Any, group: Any, vector: int) -> Any:
        layout = self.layout
        return self.start + ((chunk * layout.run + group) * self.vectors + vector) * layout.register

    def inputs(self, band: int, chunk: Any, field: int, group: Any) -> list[Operand]:
        """The band's activations that `together` groups from `group` on meet in a field, an operand for each."""
        layout = self.layout
        at = chunk * layout.chunk + (field * layout.run + group) * layout.group
        kind = f"int8x{layout.group * self.together}"
        loads = [self.activations.vload([row, at], kind) for row in self.bands[band]]
        return self.isa.activations(loads, self.together, layout)

    def add(
        self, totals: Registers, first: int, band: int, vector: int, weights: Sequence[Operand],
        activations: Sequence[Operand],
    ) -> None:  # fmt: skip
        """Groups of weights by groups of activations, to a band's sums among those from register `first` on."""
        first += (band * self.vectors + vector) * self.isa.band
        sums = totals.some(first, self.isa.band)
        totals.put(first, self.isa.band_dots(sums, weights, activations, len(self.bands[band])))

    def by_row(self, totals: Sequence[Any]) -> list[Any]:
        """Sums as totals."""
        found = []
        for band, rows in enumerate(self.bands):
            places = [(band * self.vectors + vector) * self.isa.band for vector in range(self.vectors)]
            parts = [self.isa.by_row(totals[at : at + self.isa.band], len(rows)) for at in places]
            found += [value for row in zip(*parts, strict=True) for value in row]
        return found


@dataclass(frozen=True)
class Registers:
    """Vectors in arrays small enough for TVM to leave them on the stack, where LLVM makes registers of them."""

    arrays: tuple[Any, ...]
    each: int

    def __getitem__(self, index: int) -> Any:
        return self.arrays[index // self.each][index % self.each]

    def __setitem__(self, index: int, value: Any) -> None:
        T.buffer_store(self.arrays[index // self.each], value, [index % self.each])

    def some(self, first: int, count: int) -> list[Any]:
        """`count` of them from `first` on."""
        return [self[first + index] for index in range(count)]

    def put(self, first: int, values: Sequence[Any]) -> None:
        """Values for those from `first` on."""
        for index, value in enumerate(values):
            self[first + index] = value


def registers(count: int, kind: str, lanes: int) -> Registers:
    """So many registers of int32 or float32 `lanes`."""
    each = max(1, (_STACK - 1) // (4 * lanes))
    return Registers(tuple(stacked(min(each, count - i), f"{kind}x{lanes}") for i in range(0, count, each)), each)


@dataclass(frozen=True)
class RowFigure:
    """One int32 figure over a row: `wide` is of whole registers, `single` of the numbers that are left."""

    wide: Any
    single: Any
    lanes: int

    def of(self, count: int) -> Any:
        """Where that of so many numbers at once is kept."""
        return self.wide if count > 1 else self.single

    def whole(self, how: str, both: Callable[[Any, Any], Any]) -> Any:
        """Of the whole row: `how` LLVM reduces a register (add, smax), and `both` what two numbers make."""
        name = f"llvm.vector.reduce.{how}.v{self.lanes}i32"
        return both(T.call_llvm_pure_intrin("int32", name, self.wide[0]), self.single[0])


def row_figure(lanes: int) -> RowFigure:
    """Which begins at zero."""
    wide, single = stacked(1, f"int32x{lanes}"), stacked(1, "int32")
    T.buffer_store(wide, splat(T.int32(0), lanes), [0])
    T.buffer_store(single, T.int32(0), [0])
    return RowFigure(wide, single, lanes)


@contextmanager
def function(name: str) -> Iterator[IRBuilder]:
    """A function of that name is what the builder, whose `get` gives it, makes of the body."""
    with IRBuilder() as builder, prim_func(s_tir=True):
        T.func_name(name)
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        yield builder


@contextmanager
def body() -> Iterator[None]:
    """What follows the arguments: one block that passes over whole modules leave as it is."""
    with T.sblock("root"):
        T.reads()
        T.writes()
        yield


def each_row(rows: Any, one: Callable[[Any], None], *, parallel: bool = True) -> None:
    """Few rows one after another, many in parallel, unless they must not."""
    if not parallel or isinstance(rows, int):
        with T.parallel(0, rows) if parallel and rows >= _FEW else T.serial(0, rows) as row:
            one(row)
        return
    with T.If(rows < _FEW):
        with T.Then(), T.serial(0, rows) as row:
            one(row)
        with T.Else(), T.parallel(0, rows) as row:
            one(row)


def stacked(count: int, dtype: str) -> Any:
    """An array on the stack: to TVM that is a small one of scope "global"; a "local" one is allocated each time."""
    return T.alloc_buffer((count,), dtype, scope="global")


def splat(value: Any, lanes: int) -> Any:
    """A scalar in all lanes; of one lane itself."""
    return T.broadcast(value, lanes) if lanes > 1 else value


def typed(kind: str, lanes: int) -> str:
    """The name of so many numbers of a kind."""
    return f"{kind}x{lanes}" if lanes > 1 else kind


def zeros(count: int, kind: str, lanes: int) -> list[Any]:
    """So many sums, each an array of its lanes' numbers: TVM lets arrays of numbers and of registers share memory, and
    then mixes them up."""
    sums = [stacked(lanes, kind) for _ in range(count)]
    for each in sums:
        T.buffer_store(each, splat(getattr(T, kind)(0), lanes), [T.ramp(0, 1, lanes) if lanes > 1 else 0])
    return sums
