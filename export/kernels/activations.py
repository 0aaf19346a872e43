"""Activations as int8 codes for a product: a scale for each row, or each block of one, and sums that take the codes'
offset away.

    s = max_k |x_k| / 127,    q_k = round(x_k · (127 / max |x|)),    Σ q over each block of the weights

As `round_by_block` of `quant/blocks.py` does, bit for bit, with a row in one block or in those of the weights: the
factor is rounded to float32 first, ties go to even, a block of less than 1e-36 becomes zero. NaN or infinity in one
make it NaN. With a scale that is given (`static`),
q = clamp(round(x / s), −127, 127), as `quant/formats.py` does. Padding is zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.call import Call, kernel
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.packing import Layout
from compressor.export.kernels.panel import row_figure, splat, typed

__all__ = ["Rounding", "round_rows"]

_ABS, _INFINITY, _NAN = 0x7FFFFFFF, 0x7F800000, 0x7FC00000  # bits of float32: all but the sign, and two values


@dataclass(frozen=True)
class Rounding:
    """How rows of `layout.inputs` floats become codes; `rows` None: known when it runs.

    `by_block`: every block of the weights rounds its inputs for itself. `static`: the scale is given, one for all.
    `parallel`: many rows are given to several threads. `in_c`: called from C (`call.py`), a row a unit.
    """

    isa: Isa
    layout: Layout
    rows: int | None = None
    static: bool = False
    by_block: bool = False
    parallel: bool = True
    in_c: bool = False

    @property
    def scales(self) -> int:
        """Scales of a row."""
        return self.layout.blocks if self.by_block else 1


def round_rows(spec: Rounding, name: str = "round_rows") -> Any:
    """The function (x float32 (M, K) [, s (1, 1)], q int8 (M, stride), s (M, 1 or blocks), Σq int32 (M, blocks))."""
    layout = spec.layout

    def shapes(rows: Any) -> list[tuple[str, tuple[Any, ...], str]]:
        return [
            ("x", (rows, layout.inputs), "float32"),
            *([("scale", (1, 1), "float32")] if spec.static else []),
            ("codes", (rows, layout.stride), "int8"),
            ("scales", (rows, spec.scales), "float32"),
            ("sums", (rows, layout.blocks), "int32"),
        ]

    def emit(call: Call) -> None:
        given = call.buffers
        parts = given["x"], given.get("scale"), given["codes"], given["scales"], given["sums"]
        call.each_row(lambda row: _Row(spec, *parts, row).emit(), parallel=spec.parallel)

    return kernel(name, spec.rows, shapes, emit, in_c=spec.in_c)


@dataclass(frozen=True)
class _Row:
    spec: Rounding
    x: Any
    given: Any
    codes: Any
    scales: Any
    sums: Any
    row: Any

    def emit(self) -> None:
        layout = self.spec.layout
        factor = None if self.spec.by_block else T.bind(self._scale(0, 0, layout.inputs))
        block = layout.block or layout.inputs
        with T.serial(0, layout.inputs // block) as index:
            self._round(factor, index, index * block, block)
        whole = layout.inputs // block
        if rest := layout.inputs % block:
            self._round(factor, T.int32(whole), whole * block, rest)
        with T.serial(0, layout.width - layout.inputs) as k:
            T.buffer_store(self.codes, T.int8(0), [self.row, layout.inputs + k])

    def _scale(self, index: Any, start: Any, length: int) -> Any:
        """A scale is written; what its inputs are to be multiplied with (or divided by, where static)."""
        if self.given is not None:
            T.buffer_store(self.scales, self.given[0, 0], [self.row, index])
            return self.given[0, 0]
        bits = T.bind(self._largest(start, length))
        bits = T.bind(T.Select(bits == T.int32(_INFINITY), T.int32(_NAN), bits))
        largest = T.bind(T.reinterpret("float32", bits))
        T.buffer_store(self.scales, largest / T.float32(127), [self.row, index])
        factor = T.float32(127) / largest
        return T.Select(T.reinterpret("int32", factor) == T.int32(_INFINITY), T.float32(0), factor)

    def _largest(self, start: Any, length: int) -> Any:
        """max |x| by its bits, which are ordered as the numbers are, NaN above all."""
        figure = row_figure(self.spec.isa.lanes)

        def over(at: Any, count: int) -> None:
            target = figure.of(count)
            bits = T.reinterpret(typed("int32", count), self._load(at, count))
            mask = splat(T.int32(_ABS), count) if count > 1 else T.int32(_ABS)
            T.buffer_store(target, T.max(target[0], bits & mask), [0])

        self._pieces(start, length, over)
        return figure.whole("smax", T.max)

    def _round(self, factor: Any, index: Any, start: Any, length: int) -> None:
        factor = T.bind(self._scale(index, start, length)) if factor is None else factor
        figure = row_figure(self.spec.isa.lanes)

        def over(at: Any, count: int) -> None:
            target = figure.of(count)
            code = T.bind(self._code(self._load(at, count), factor, count))
            place = T.ramp(at, 1, count) if count > 1 else at
            T.buffer_store(self.codes, T.Cast(typed("int8", count), code), [self.row, place])
            T.buffer_store(target, target[0] + code, [0])

        self._pieces(start, length, over)
        T.buffer_store(self.sums, figure.whole("add", operator.add), [self.row, index])

    def _code(self, value: Any, factor: Any, count: int) -> Any:
        spread = splat(factor, count) if count > 1 else factor
        exact = value / spread if self.spec.static else value * spread
        if self.spec.static:
            ends = [splat(T.float32(end), count) if count > 1 else T.float32(end) for end in (-127.0, 127.0)]
            exact = T.max(T.min(exact, ends[1]), ends[0])
        return T.Cast(typed("int32", count), T.nearbyint(exact))

    def _load(self, at: Any, count: int) -> Any:
        return self.x.vload([self.row, at], "float32x" + str(count)) if count > 1 else self.x[self.row, at]

    def _pieces(self, start: Any, length: int, over: Callable[[Any, int], None]) -> None:
        """Whole registers, then single numbers."""
        lanes = self.spec.isa.lanes
        with T.serial(0, length // lanes) as piece:
            over(start + piece * lanes, lanes)
        with T.serial(0, length % lanes) as k:
            over(start + length // lanes * lanes + k, 1)
