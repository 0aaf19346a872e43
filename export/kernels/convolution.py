"""A convolution, channels last, as one function of TVM's TIR; a matrix product is one of a single place.

    y[n, i, j, o] = act(b[o] + Σ_{ky, kx, c} x[n, i·s + ky·d, j·s + kx·d, c] · w[ky, kx, c, o] + r[n, i, j, o])
    y[n, i, j, o] = act(float(Σ q · w + offset[o]) · scale[o] + b[o] + r[n, i, j, o])       of codes: int32, exact
    y[n, i, j, o] = act((Σ x · float(w)) · scale[o] + b[o] + r[n, i, j, o])                 of weights stored as bytes

Lanes are output channels. R neighbouring places of a line meet V registers of weights at once: R · V sums in registers,
each input spread over the lanes of one, each weight loaded once for R places. Nothing is gathered: with channels last,
what a window meets in a line lies in one piece. Rows of a matrix are places of one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.columns import ROWS, Convolution
from compressor.export.kernels.epilogue import Epilogue, restored, scaled, vector
from compressor.export.kernels.isa import Operand
from compressor.export.kernels.panel import body, function, registers, splat
from compressor.export.kernels.vector_math import fused

__all__ = ["convolution"]


def convolution(spec: Convolution, name: str = "convolution") -> Any:
    """The function (x (n, height · width · C), w, [offsets int32,] [scales,] [b], [r (n · places, outputs)],
    y (n · places, outputs)).

    w as `pack_columns` gives it; what there is for each channel is given by group, each padded to whole registers.
    """
    window, (down, across) = spec.window, spec.window.places
    padded = spec.groups * spec.columns * spec.isa.lanes
    inputs = ("uint8" if spec.isa.unsigned_inputs else "int8") if spec.codes else "float32"
    stored = "int8" if spec.codes or spec.stored else "float32"
    with function(name) as builder:
        samples = tirx.Var("samples", "int64") if spec.samples is None else spec.samples
        shape = samples * (down * across), spec.outputs
        x = T.arg("x", T.Buffer((samples, window.size), inputs))
        w = T.arg("w", T.Buffer((padded * spec.steps * spec.together,), stored))
        offsets = T.arg("offsets", T.Buffer((padded,), "int32")) if spec.codes else None
        scales = T.arg("scales", T.Buffer((padded,), "float32")) if stored == "int8" else None
        b = T.arg("b", T.Buffer((padded,), "float32")) if spec.bias else None
        r = T.arg("r", T.Buffer(shape, "float32")) if spec.ending.residual else None
        y = T.arg("y", T.Buffer(shape, spec.ending.kind))
        with body():
            _units(_Call(spec, samples, x, w, offsets, scales, b, Epilogue(spec.ending, y, r)))
    return builder.get()


@dataclass(frozen=True)
class _Call:
    """The arguments, and what a step of the sum is: a product of floats, or of four codes."""

    spec: Convolution
    samples: Any
    x: Any
    w: Any
    offsets: Any
    scales: Any
    b: Any
    epilogue: Epilogue

    def begun(self, channel: Any, places: int) -> list[Any]:
        """What the sums of a band of so many places begin with."""
        lanes = self.spec.isa.lanes
        if self.spec.codes:
            return self.spec.isa.begun(self.offsets[vector(channel, lanes)], places)
        nothing = self.b is None or self.spec.stored  # which is scaled first
        return [splat(T.float32(0), lanes) if nothing else self.b[vector(channel, lanes)]]

    def weights(self, at: Any) -> Operand:
        """A register of weights: `at` counts lanes."""
        lanes, group = self.spec.isa.lanes, self.spec.together
        if self.spec.codes:
            return self.spec.isa.bytes_of(self.w.vload([at * group], f"int8x{group * lanes}"))
        if self.spec.stored:
            return (T.bind(T.Cast(f"float32x{lanes}", self.w.vload([at], f"int8x{lanes}"))),)
        return (T.bind(self.w.vload([at], f"float32x{lanes}")),)

    def inputs(self, band: Sequence[Any]) -> list[Operand]:
        """By step of a run, what is at the numbers of x where a band's places stand; of one place in all lanes."""
        spec = self.spec
        count = spec.run * spec.together
        if spec.codes:
            return spec.isa.input_bytes([self.x.vload([0, at], f"{self.x.dtype}x{count}") for at in band], spec.run)
        [at] = band
        if count == 1:
            return [(T.bind(splat(self.x[0, at], spec.isa.lanes)),)]
        loaded = T.bind(self.x.vload([0, at], f"float32x{count}"))
        each = (tirx.Shuffle([loaded], [tirx.IntImm("int32", index)]) for index in range(count))
        return [(splat(number, spec.isa.lanes),) for number in each]

    def added(
        self, sums: Sequence[Any], weights: Sequence[Operand], inputs: Sequence[Operand], places: int
    ) -> list[Any]:
        if self.spec.codes:
            return self.spec.isa.band_bytes(sums, weights, inputs, places, narrow=self.spec.narrow)
        [total] = sums
        for left, right in zip(inputs, weights, strict=True):
            total = fused(left[0], right[0], total, self.spec.isa.lanes)
        return [total]

    def finished(self, sums: Sequence[Any], channel: Any, places: int) -> list[Any]:
        """A band's sums as floats, a register for each place."""
        if self.scales is None:
            return list(sums)
        lanes, at = self.spec.isa.lanes, vector(channel, self.spec.isa.lanes)
        scales, b = self.scales[at], None if self.b is None else self.b[at]
        if self.spec.stored:
            return [scaled(total, scales, b, lanes) for total in sums]
        return [restored(total, scales, b, lanes) for total in self.spec.isa.by_row(sums, places)]


@dataclass(frozen=True)
class _Tile:
    """A register or several of a group's output channels: number `index`, the group's last one where it `ends`."""

    call: _Call
    group: Any
    index: Any
    vectors: int
    ends: bool

    def block(self, rows: int, first: Any, row: Any) -> None:
        """`rows` places from the one whose window begins at number `first` of x; results from `row` on."""
        spec, call, lanes = self.call.spec, self.call, self.call.spec.isa.lanes
        column = T.bind(self.group * spec.columns + self.index * spec.tiling.vectors)
        first = T.bind(first + self.group * spec.inputs)
        bands = list(enumerate(spec.bands(rows)))
        sums = registers(len(bands) * self.vectors * spec.band, spec.kind, lanes)
        for number, band in bands:
            for index in range(self.vectors):
                sums.put(self._sums(number, index), call.begun((column + index) * lanes, len(band)))
        with _window(spec) as (place, step):
            at = column * (lanes * spec.steps) + step * (self.vectors * lanes)
            weights = [
                [call.weights(at + (each * self.vectors + index) * lanes) for each in range(spec.run)]
                for index in range(self.vectors)
            ]
            for number, band in bands:
                values = call.inputs([first + place + each * spec.step for each in band])
                for index, weight in enumerate(weights):
                    before = sums.some(self._sums(number, index), spec.band)
                    sums.put(self._sums(number, index), call.added(before, weight, values, len(band)))
        for number, band in bands:
            parts = [sums.some(self._sums(number, index), spec.band) for index in range(self.vectors)]
            self._store(parts, column, row, band)

    def _sums(self, band: int, index: int) -> int:
        """The first register of a band's sums for a register of channels."""
        return (band * self.vectors + index) * self.call.spec.band

    def _store(self, parts: list[list[Any]], column: Any, row: Any, band: Sequence[int]) -> None:
        """A band's sums, for each register of outputs."""
        spec, lanes = self.call.spec, self.call.spec.isa.lanes
        channel = T.bind(self.group * spec.wide + self.index * (spec.tiling.vectors * lanes))
        rest = spec.wide % lanes if self.ends else 0
        finished = [self.call.finished(sums, (column + i) * lanes, len(band)) for i, sums in enumerate(parts)]
        for each, values in zip(band, zip(*finished, strict=True), strict=True):
            for index, value in enumerate(values):
                at = row + each, channel + index * lanes
                if rest and index == self.vectors - 1:
                    self.call.epilogue.store_part(value, *at, rest)
                else:
                    self.call.epilogue.store(value, *at, lanes)


@contextmanager
def _window(spec: Convolution) -> Iterator[tuple[Any, Any]]:
    """Loops over what a window meets: its place in x behind the window's first number, and the step of the sum."""
    window, runs = spec.window, spec.run_steps // spec.run
    with T.serial(0, window.kernel[0]) as ky, T.serial(0, spec.pieces) as kx, T.serial(0, runs) as k:
        place = (ky * window.dilation[0] * window.width + kx * window.dilation[1]) * window.channels
        number = k * spec.run
        yield place + number * spec.together, (ky * spec.pieces + kx) * spec.run_steps + number


def _units(call: _Call) -> None:
    """Units of parallel work: a tile of channels for some rows, the larger operand in the outer order."""
    spec = call.spec
    across = -(-spec.columns // spec.tiling.vectors)
    tiles = spec.groups * across
    lines = (
        spec.tiling.rows * max(1, ROWS // spec.tiling.rows) if spec.of_matrix else max(1, ROWS // (spec.across or 1))
    )
    all_lines = call.samples * (1 if spec.of_matrix else spec.window.places[0])
    parts = (all_lines + (lines - 1)) // lines
    with (T.parallel if spec.parallel else T.serial)(0, tiles * parts) as unit:
        tile, part = (unit // parts, unit % parts) if _weights_are_more(spec) else (unit % tiles, unit // tiles)
        group, index, start = T.bind(tile // across), T.bind(tile % across), T.bind(part * lines)
        count = T.min(all_lines - start, lines)
        for vectors, ends in _kinds(spec, index, across):
            each = _Tile(call, group, index, vectors, ends)
            _rows(each, start, count) if spec.of_matrix else _lines(each, start, count)


def _kinds(spec: Convolution, index: Any, across: int) -> Iterator[tuple[int, bool]]:
    """Registers of a tile, and whether it is the last, in the branch where it is so."""
    if across == 1 or (spec.last == spec.tiling.vectors and spec.wide % spec.isa.lanes == 0):
        yield spec.last, across == 1
        return
    with T.If(index < across - 1):
        with T.Then():
            yield spec.tiling.vectors, False
        with T.Else():
            yield spec.last, True


def _weights_are_more(spec: Convolution) -> bool:
    if spec.samples is None:
        return True
    return spec.outputs * spec.steps > spec.samples * spec.window.size


def _lines(tile: _Tile, start: Any, count: Any) -> None:
    """Whole lines of places, from line `start` of all samples' on."""
    spec = tile.call.spec
    window, rows, (down, across) = spec.window, spec.tiling.rows, spec.window.places
    size = window.width * window.channels
    with T.serial(0, count) as index:
        line = T.bind(start + index)
        first = T.bind(line // down * (window.height * size) + line % down * (window.stride[0] * size))
        with T.serial(0, across // rows) as block:
            tile.block(rows, first + block * (rows * spec.step), line * across + block * rows)
        if rest := across % rows:
            tile.block(rest, first + (across - rest) * spec.step, line * across + (across - rest))


def _rows(tile: _Tile, start: Any, count: Any) -> None:
    """Rows of a matrix; what blocks leave is one of its own where it is known, else pieces of powers of two."""
    spec, block = tile.call.spec, tile.call.spec.tiling.rows
    whole = count // block
    with T.serial(0, whole) as index:
        at = start + index * block
        tile.block(block, at * spec.step, at)
    after, rest = start + whole * block, count - whole * block
    if spec.samples is not None:
        if left := spec.samples % block:
            with T.If(rest != 0), T.Then():
                tile.block(left, after * spec.step, after)
        return
    for size in _halves(block):
        with T.If(T.bitwise_and(rest, size) != 0), T.Then():
            at = T.bind(after + rest // (2 * size) * (2 * size))
            tile.block(size, at * spec.step, at)


def _halves(block: int) -> Iterator[int]:
    """Powers of two of which any number below `block` is a sum, the largest first."""
    size = 1 << ((block - 1).bit_length() - 1) if block > 1 else 0
    while size:
        yield size
        size //= 2
