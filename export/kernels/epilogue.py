"""What follows a product before it is stored: y = min(max(Σ + r, low), high), where each part may be missing.

Registers that reach beyond the last channel are stored in pieces of powers of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import splat

__all__ = ["PLAIN", "Ending", "Epilogue", "pieces", "vector"]


@dataclass(frozen=True)
class Ending:
    """Whether a `residual` as large as the result is added, and what the result is kept between (None: no bound)."""

    residual: bool = False
    low: float | None = None
    high: float | None = None


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
            value = T.max(value, _spread(self.ending.low, lanes))
        if self.ending.high is not None:
            value = T.min(value, _spread(self.ending.high, lanes))
        T.buffer_store(self.y, value, [row, place])

    def store_part(self, value: Any, row: Any, channel: Any, count: int) -> None:
        """The first `count` lanes of a register."""
        value = T.bind(value)
        for start, lanes in pieces(count, count):
            part = tirx.Shuffle([value], [tirx.IntImm("int32", start + lane) for lane in range(lanes)])
            self.store(part, row, channel + start, lanes)


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


def _spread(value: float, lanes: int) -> Any:
    number = T.float32(value)
    return splat(number, lanes) if lanes > 1 else number
