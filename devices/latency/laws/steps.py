"""The steps of a convolution's inner loop in the blocked layout, counted.

A step multiplies one input channel at one tap: b blocks of filters by p pixels of a row, b·p products in flight.

    pixels    as many at a time as registers hold sums for, then 3, 2, 1; those whose window leaves the row, one by one
    waits     max(0, 8 − b·p) a step: two units that take four cycles each want eight products in flight; or
              max(0, 4·b − b·p), if more, where filters come from the second cache: b vectors a step

Georganas et al.: Anatomy of high-performance deep learning convolutions on SIMD architectures (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Covered", "Steps", "covered", "row_of", "steps_of"]

_IN_FLIGHT = 8  # products: units × latency, alike on the cores of a decade
_STREAMED = 4  # products in the time that a vector takes from the second cache


@dataclass(frozen=True)
class Steps:
    """Of a row, for each input channel and row of the kernel: `products` of a block of filters by a pixel, `waits`
    where too few are in flight, and `chunks`, the times that sums are read and written."""

    products: float = 0.0
    waits: float = 0.0
    chunks: float = 0.0


@dataclass(frozen=True)
class Covered:
    """Along one axis: outputs whose window lies inside, and the taps that lie inside of each other one."""

    inside: int
    border: tuple[int, ...]

    @property
    def taps(self) -> int:
        return sum(self.border)


def covered(source: int, result: int, kernel: int, stride: int, dilation: int = 1) -> Covered:
    """Which of `result` windows stay inside `source` numbers; what is missing is padded, half of it in front."""
    reach = dilation * (kernel - 1) + 1
    front = max(0, (result - 1) * stride + reach - source + 1) // 2
    border = []
    for place in range(result):
        start = place * stride - front
        if start < 0 or start + reach > source:
            border.append(sum(0 <= start + dilation * tap < source for tap in range(kernel)))
    return Covered(result - len(border), tuple(border))


def row_of(inside: int, lanes: int) -> tuple[tuple[int, int], ...]:
    """(pixels at a time, how often) over a row of so many pixels."""
    found, left = [], inside
    for width in (6, 3, 2, 1) if lanes >= 16 else (3, 2, 1):
        times, left = divmod(left, width)
        found.append((width, times))
    return tuple(found)


def steps_of(row: Covered, kernel: int, blocks: Sequence[int], lanes: int, streamed: bool = False) -> Steps:
    """`blocks`: of filters, of each pass over the row; `streamed`: these lie beyond the nearest cache."""
    chunks = [(width, times, kernel) for width, times in row_of(row.inside, lanes) if times]
    chunks += [(1, 1, taps) for taps in row.border]
    products = waits = 0
    for b in blocks:
        wanted = max(_IN_FLIGHT, _STREAMED * b) if streamed else _IN_FLIGHT
        products += sum(b * width * times * taps for width, times, taps in chunks)
        waits += sum(max(0, wanted - b * width) * times * taps for width, times, taps in chunks)
    return Steps(products, waits, len(blocks) * sum(times for _, times, _ in chunks))
