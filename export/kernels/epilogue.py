"""What follows a product before it is stored, where each part may be missing.

    y = min(max(Σ + r, low), high)        q = min(max(round(y / s) + z, least), most)

NaN stays NaN where there are no codes. Registers that reach beyond the last channel are stored in pieces of powers of
two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import splat, typed
from compressor.export.kernels.vector_math import fused

__all__ = ["PLAIN", "Ending", "Epilogue", "Step", "pieces", "restored", "scaled", "vector"]


@dataclass(frozen=True)
class Step:
    """Codes that results are rounded to: bytes, of which one stands for `step`, and `zero` for nothing."""

    step: float
    zero: int
    least: int
    most: int
    unsigned: bool


@dataclass(frozen=True)
class Ending:
    """Whether a `residual` as large as the result is added, what the result is kept between (None: no bound), and the
    codes that it is rounded to (None: it stays float32)."""

    residual: bool = False
    low: float | None = None
    high: float | None = None
    codes: Step | None = None

    @property
    def kind(self) -> str:
        """Of what is stored."""
        return "float32" if self.codes is None else "uint8" if self.codes.unsigned else "int8"


PLAIN = Ending()


@dataclass(frozen=True)
class Epilogue:
    """Results go to `y` (rows, channels), where `ending` says so with what is in `residual`."""

    ending: Ending
    y: Any
    residual: Any | None = None

    def store(self, value: Any, row: Any, channel: Any, lanes: int) -> None:
        """One register of float32 from `channel` on."""
        place = vector(channel, lanes)
        if self.residual is not None:
            value = value + self.residual[row, place]
        if self.ending.low is not None:
            value = T.max(splat(T.float32(self.ending.low), lanes), value)  # the second where it is no number
        if self.ending.high is not None:
            value = T.min(splat(T.float32(self.ending.high), lanes), value)
        if self.ending.codes is not None:
            value = _rounded(value, self.ending.codes, self.ending.kind, lanes)
        T.buffer_store(self.y, value, [row, place])

    def store_part(self, value: Any, row: Any, channel: Any, count: int) -> None:
        """The first `count` lanes of a register."""
        value = T.bind(value)
        for start, lanes in pieces(count, count):
            part = tirx.Shuffle([value], [tirx.IntImm("int32", start + lane) for lane in range(lanes)])
            self.store(part, row, channel + start, lanes)


def restored(total: Any, scale: Any, bias: Any | None, lanes: int) -> Any:
    """A register of whole sums as floats: float(Σ) · s + b."""
    return scaled(T.Cast(typed("float32", lanes), total), scale, bias, lanes)


def scaled(value: Any, scale: Any, bias: Any | None, lanes: int) -> Any:
    """A register of floats in their unit, v · s + b, rounded once where there is a bias."""
    return value * scale if bias is None else fused(value, scale, bias, lanes)


def pieces(count: int, most: int) -> Iterator[tuple[int, int]]:
    """A number of channels in powers of two up to `most`, the largest first: (start, piece)."""
    start = 0
    while start < count:
        piece = 1 << (min(count - start, most).bit_length() - 1)
        yield start, piece
        start += piece


def vector(start: Any, lanes: int) -> Any:
    """Neighbouring places as an index."""
    return T.ramp(start, 1, lanes) if lanes > 1 else start


def _rounded(value: Any, codes: Step, kind: str, lanes: int) -> Any:
    """As `quantize` does it: divided, rounded half to even, kept within bounds while it is a float."""
    step, zero, least, most = (
        splat(T.float32(each), lanes) for each in (codes.step, codes.zero, codes.least, codes.most)
    )
    whole = T.max(T.min(T.nearbyint(value / step) + zero, most), least)
    return T.Cast(typed(kind, lanes), T.Cast(typed("int32", lanes), whole))
