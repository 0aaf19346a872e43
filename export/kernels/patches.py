"""Codes that are there already, laid out as rows for a product: of a matrix, or of what a convolution's window meets.

    row (n, y, x):  q[n, y·s + ky·d, x·s + kx·d, c]  at  (ky · Kx + kx) · C + c,        Σ over the row, and its scale

Channels come last and padding is there, so that what a window meets in a line lies in one piece: rows are copied, not
gathered. A matrix is the window of one place. What pads a row for the product is zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.isa import Isa
from compressor.export.kernels.packing import Layout
from compressor.export.kernels.panel import body, each_row, function, row_figure

__all__ = ["Window", "patches"]

_PIECE = 4  # such pieces at most are copied without a loop


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

    @property
    def runs(self) -> Iterator[tuple[int, int]]:
        """Where pieces of a row begin, counted in numbers: in the data, behind the window's first, and in the row."""
        joined = self.dilation[1] == 1
        for down in range(self.kernel[0]):
            for across in range(1 if joined else self.kernel[1]):
                place = (down * self.dilation[0] * self.width + across * self.dilation[1]) * self.channels
                yield place, (down * self.kernel[1] + across) * self.channels

    @property
    def run(self) -> int:
        """Numbers in such a piece."""
        return self.channels * (self.kernel[1] if self.dilation[1] == 1 else 1)


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
            place = row % (down * across)
            line, column = place // across * window.stride[0], place % across * window.stride[1]
            first = T.bind((line * window.width + column) * window.channels)
            _copy(q, row // (down * across), first, codes, row, window)
            with T.serial(0, layout.width - window.inputs) as k:
                T.buffer_store(codes, T.int8(0), [row, window.inputs + k])
            T.buffer_store(scales, given[0, 0], [row, 0])
            T.buffer_store(sums, _sum(codes, row, isa, layout) if layout.zero else T.int32(0), [row, 0])

        with body():
            each_row(rows, one, parallel=parallel)
    return builder.get()


def _copy(q: Any, sample: Any, first: Any, codes: Any, row: Any, window: Window) -> None:
    for source, place in window.runs:
        for start, length, times in _pieces(window.run):

            def move(index: Any, come: int = source + start, to: int = place + start, length: int = length) -> None:
                value = q.vload([sample, first + come + index * length], f"int8x{length}" if length > 1 else "int8")
                at = to + index * length
                T.buffer_store(codes, value, [row, T.ramp(at, 1, length) if length > 1 else at])

            _times(times, move)


def _pieces(length: int) -> Iterator[tuple[int, int, int]]:
    """A length in pieces of powers of two, the largest first: (start, piece, how many)."""
    start, piece = 0, 64
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
