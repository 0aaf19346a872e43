"""A depthwise convolution, channels last, as one function of TVM's TIR: every channel in a lane of its own.

    y[n, i, j, c] = act(b[c] + Σ_{ky, kx} x[n, i·s + ky·d, j·s + kx·d, c] · w[ky, kx, c] + r)                 of floats
    y[n, i, j, c] = act(float(Σ q · w + offset[c]) · scale[c] + b[c] + r)                        of codes: int32, exact

R neighbouring places of a line at once: what their windows share of a line of x is loaded once. Channels that fill no
register run in shorter ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.epilogue import PLAIN, Ending, Epilogue, pieces, restored, vector
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.panel import body, function, splat, stacked, typed
from compressor.export.kernels.patches import Window
from compressor.export.kernels.vector_math import fused

__all__ = ["Depthwise", "depthwise"]

_PLACES = 4  # registers for each place that is computed at once: its sum, inputs, weights


@dataclass(frozen=True)
class Depthwise:
    """What is computed, as `Convolution` says it; `codes`: what bytes inputs are, weights are int8, sums whole
    numbers."""

    isa: Isa
    window: Window
    samples: int | None = None
    codes: str | None = None
    bias: bool = False
    ending: Ending = PLAIN
    parallel: bool = True

    @property
    def kind(self) -> str:
        """Of what is summed."""
        return "int32" if self.codes else "float32"


def depthwise(spec: Depthwise, name: str = "depthwise") -> Any:
    """The function (x (n, height · width · C), w (Ky · Kx · C), [offsets int32 (C), scales (C)], [b (C)],
    [r (n · places, C)], y (n · places, C))."""
    window, (down, across) = spec.window, spec.window.places
    channels = window.channels
    with function(name) as builder:
        samples = tirx.Var("samples", "int64") if spec.samples is None else spec.samples
        shape = samples * (down * across), channels
        x = T.arg("x", T.Buffer((samples, window.size), spec.codes or "float32"))
        w = T.arg("w", T.Buffer((window.kernel[0] * window.kernel[1] * channels,), "int8" if spec.codes else "float32"))
        offsets = T.arg("offsets", T.Buffer((channels,), "int32")) if spec.codes else None
        scales = T.arg("scales", T.Buffer((channels,), "float32")) if spec.codes else None
        bias = T.arg("b", T.Buffer((channels,), "float32")) if spec.bias else None
        r = T.arg("r", T.Buffer(shape, "float32")) if spec.ending.residual else None
        y = T.arg("y", T.Buffer(shape, spec.ending.kind))
        call = _Call(spec, x, w, offsets, scales, bias, Epilogue(spec.ending, y, r))
        with body(), (T.parallel if spec.parallel else T.serial)(0, samples * down) as line:
            size = window.width * channels
            first = T.bind(line // down * (window.height * size) + line % down * (window.stride[0] * size))
            call.line(first, line * across)
    return builder.get()


@dataclass(frozen=True)
class _Call:
    spec: Depthwise
    x: Any
    w: Any
    offsets: Any
    scales: Any
    bias: Any
    epilogue: Epilogue

    def line(self, first: Any, row: Any) -> None:
        """All places of a line whose windows begin at number `first`; results from `row` on."""
        window = self.spec.window
        across = window.places[1]
        together = min(self.spec.isa.registers // _PLACES, across)
        step = together * window.stride[1] * window.channels
        with T.serial(0, across // together) as block:
            self._channels(together, first + block * step, row + block * together)
        if rest := across % together:
            whole = across - rest
            self._channels(rest, first + whole * window.stride[1] * window.channels, row + whole)

    def _channels(self, places: int, first: Any, row: Any) -> None:
        lanes, channels = self.spec.isa.lanes, self.spec.window.channels
        whole = channels // lanes
        with T.serial(0, whole) as index:
            self._block(places, first, row, index * lanes, lanes)
        for start, piece in pieces(channels % lanes, lanes):
            self._block(places, first, row, whole * lanes + start, piece)

    def _block(self, places: int, first: Any, row: Any, channel: Any, lanes: int) -> None:
        """`places` sums of `lanes` channels."""
        sums = [
            stacked(lanes, self.spec.kind) for _ in range(places)
        ]  # of numbers: TVM mixes up registers of two sizes
        at = vector(0, lanes)
        for each in sums:
            T.buffer_store(each, self._begin(channel, lanes), [at])
        with T.serial(0, self.spec.window.kernel[0]) as ky:
            self._taps(sums, first, ky, channel, lanes)
        for index, each in enumerate(sums):
            self.epilogue.store(self._finished(each[at], channel, lanes), row + index, channel, lanes)

    def _taps(self, sums: list[Any], first: Any, ky: Any, channel: Any, lanes: int) -> None:
        """One line of the window: each column of x that any place meets is loaded once."""
        window = self.spec.window
        loaded: dict[int, Any] = {}
        for kx in range(window.kernel[1]):
            at = (ky * window.kernel[1] + kx) * window.channels + channel
            weight = T.bind(self._wide(self.w[vector(at, lanes)], lanes))
            for place, total in enumerate(sums):
                column = place * window.stride[1] + kx * window.dilation[1]
                if column not in loaded:
                    at = first + (ky * window.dilation[0] * window.width + column) * window.channels + channel
                    loaded[column] = T.bind(self._wide(self.x[0, vector(at, lanes)], lanes))
                all_lanes = vector(0, lanes)
                T.buffer_store(total, self._added(total[all_lanes], loaded[column], weight, lanes), [all_lanes])

    def _begin(self, channel: Any, lanes: int) -> Any:
        if self.spec.codes:
            return self.offsets[vector(channel, lanes)]
        if self.bias is not None:
            return self.bias[vector(channel, lanes)]
        return splat(T.float32(0), lanes)

    def _wide(self, value: Any, lanes: int) -> Any:
        return T.Cast(typed("int32", lanes), value) if self.spec.codes else value

    def _added(self, total: Any, x: Any, w: Any, lanes: int) -> Any:
        return total + x * w if self.spec.codes else fused(x, w, total, lanes)

    def _finished(self, total: Any, channel: Any, lanes: int) -> Any:
        if not self.spec.codes:
            return total
        at = vector(channel, lanes)
        return restored(total, self.scales[at], None if self.bias is None else self.bias[at], lanes)
