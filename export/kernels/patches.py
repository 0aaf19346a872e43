"""Codes that are there already, laid out as rows for a product: of a matrix, or of what a convolution's window meets.

    row (n, y, x):  q[n, y·s + ky·d, x·s + kx·d, c]  at  (ky · Kx + kx) · C + c,        Σ over the row, and its scale
                    of codes that were rounded by pixel and block of channels, their scales and sums in the same order

Channels come last and padding is there, so that what a window meets in a line lies in one piece: rows are copied, not
gathered. A matrix is the window of one place. What pads a row for the product is zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.isa import Isa
from compressor.export.kernels.packing import Layout
from compressor.export.kernels.panel import body, each_row, function, row_figure, typed

__all__ = ["Window", "patches", "rounded_patches"]

_PIECE = 4  # such pieces at most are copied without a loop
_REGISTER = 64  # bytes of the largest


@dataclass(frozen=True)
class Window:
    """What a convolution reads: of `height` × `width` places of `channels`, padding included, `kernel` ones at a time.

    `stride` and `dilation` as the convolution has them, each for both axes. The last `spare` columns it does not meet.
    """

    channels: int
    height: int = 1
    width: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    spare: int = 0

    @property
    def places(self) -> tuple[int, int]:
        """Where the window stands: down and across."""
        sizes = zip((self.height, self.width - self.spare), self.kernel, self.stride, self.dilation, strict=True)
        down, across = ((size - step * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, step in sizes)
        return down, across

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return self.height * self.width * self.channels

    @property
    def inputs(self) -> int:
        """Numbers in a row."""
        return self.kernel[0] * self.kernel[1] * self.channels


def patches(
    isa: Isa, layout: Layout, window: Window, samples: int | None = None, name: str = "patches", *,
    parallel: bool = True,
) -> Any:  # fmt: skip
    """The function (q int8 (n, height · width · channels), s (1, 1), rows int8 (n · places, stride), s (n · places, 1),
    Σq int32 (n · places, 1)).

    `layout` is that of the weights, in the order of a row; `samples` n, None where it is known when it runs;
    `parallel`: rows are given to several threads.
    """
    down, across = window.places
    with function(name) as builder:
        count = tirx.Var("samples", "int64") if samples is None else samples
        rows = count * (down * across)
        q = T.arg("q", T.Buffer((count, window.size), "int8"))
        given = T.arg("scale", T.Buffer((1, 1), "float32"))
        codes = T.arg("codes", T.Buffer((rows, layout.stride), "int8"))
        scales = T.arg("scales", T.Buffer((rows, 1), "float32"))
        sums = T.arg("sums", T.Buffer((rows, 1), "int32"))

        def one(row: Any) -> None:
            _copy(_Moved(q, codes, window.channels, window.channels), window, row)
            with T.serial(0, layout.width - window.inputs) as k:
                T.buffer_store(codes, T.int8(0), [row, window.inputs + k])
            T.buffer_store(scales, given[0, 0], [row, 0])
            T.buffer_store(sums, _sum(codes, row, isa, layout) if layout.zero else T.int32(0), [row, 0])

        with body():
            each_row(rows, one, parallel=parallel)
    return builder.get()


def rounded_patches(
    layout: Layout, window: Window, held: int, samples: int | None = None, name: str = "rounded_patches", *,
    parallel: bool = True,
) -> Any:  # fmt: skip
    """The function (q int8 (n, height · width · held), s and Σq (n, height · width · blocks), rows int8 (n · places,
    stride), their s and Σq int32 (n · places, layout.blocks)).

    Every pixel has codes of its channels, `held` bytes from the next one's, in whole blocks of the weights' `layout`.
    """
    down, across = window.places
    blocks = layout.blocks // math.prod(window.kernel)
    pixels = window.height * window.width
    with function(name) as builder:
        count = tirx.Var("samples", "int64") if samples is None else samples
        rows = count * (down * across)
        q = T.arg("q", T.Buffer((count, pixels * held), "int8"))
        s = T.arg("s", T.Buffer((count, pixels * blocks), "float32"))
        given = T.arg("given", T.Buffer((count, pixels * blocks), "int32"))
        codes = T.arg("codes", T.Buffer((rows, layout.stride), "int8"))
        scales = T.arg("scales", T.Buffer((rows, layout.blocks), "float32"))
        sums = T.arg("sums", T.Buffer((rows, layout.blocks), "int32"))
        moved = _Moved(q, codes, held, window.channels), _Moved(s, scales, blocks, blocks)

        def one(row: Any) -> None:
            for each in (*moved, _Moved(given, sums, blocks, blocks)):
                _copy(each, window, row)

        with body():
            each_row(rows, one, parallel=parallel)
    return builder.get()


@dataclass(frozen=True)
class _Moved:
    """From `data`, where a pixel has `held` numbers, to `rows`: the first `taken` of each."""

    data: Any
    rows: Any
    held: int
    taken: int

    def runs(self, window: Window) -> Iterator[tuple[int, int]]:
        """Where pieces begin, counted in numbers: in the data, behind the window's first, and in the row."""
        for down in range(window.kernel[0]):
            for across in range(1 if self._joined(window) else window.kernel[1]):
                place = (down * window.dilation[0] * window.width + across * window.dilation[1]) * self.held
                yield place, (down * window.kernel[1] + across) * self.taken

    def run(self, window: Window) -> int:
        """Numbers in such a piece."""
        return self.taken * (window.kernel[1] if self._joined(window) else 1)

    def _joined(self, window: Window) -> bool:
        return window.dilation[1] == 1 and self.held == self.taken


def _copy(moved: _Moved, window: Window, row: Any) -> None:
    down, across = window.places
    sample, place = row // (down * across), row % (down * across)
    line, column = place // across * window.stride[0], place % across * window.stride[1]
    first, kind = T.bind((line * window.width + column) * moved.held), str(moved.data.dtype)
    most = _REGISTER // int(moved.data.dtype.itemsize)
    for source, to in moved.runs(window):
        for start, length, times in _pieces(moved.run(window), most):

            def move(index: Any, come: int = source + start, to: int = to + start, length: int = length) -> None:
                value = moved.data.vload([sample, first + come + index * length], typed(kind, length))
                at = to + index * length
                T.buffer_store(moved.rows, value, [row, T.ramp(at, 1, length) if length > 1 else at])

            _times(times, move)


def _pieces(length: int, most: int) -> Iterator[tuple[int, int, int]]:
    """A length in pieces of powers of two up to `most`, the largest first: (start, piece, how many)."""
    start, piece = 0, most
    while start < length:
        if times := (length - start) // piece:
            yield start, piece, times
            start += times * piece
        piece //= 2


def _times(times: int, one: Callable[[Any], None]) -> None:
    if times <= _PIECE:
        for index in range(times):
            one(index)
        return
    with T.serial(0, times) as index:
        one(index)


def _sum(codes: Any, row: Any, isa: Isa, layout: Layout) -> Any:
    """Σ over a row, what pads it included."""
    lanes = isa.lanes
    figure, whole = row_figure(lanes), layout.width // lanes
    wide, single = figure.wide, figure.single
    with T.serial(0, whole) as index:
        value = T.Cast(f"int32x{lanes}", codes.vload([row, index * lanes], f"int8x{lanes}"))
        T.buffer_store(wide, wide[0] + value, [0])
    with T.serial(0, layout.width % lanes) as k:
        T.buffer_store(single, single[0] + T.Cast("int32", codes[row, whole * lanes + k]), [0])
    return figure.whole("add", operator.add)
