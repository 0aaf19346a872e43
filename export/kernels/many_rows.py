"""Many rows: a tile of weights stays in the cache, and one field after another of it meets all rows of a block.

    total = x₀·w₀ + (x₁·w₁·4 + (x₂·w₂·16 + (x₃·w₃·64) / 4) / 4) / 4        w_f·4^f = byte & (3 · 4^f)

As Horner's rule goes through a polynomial: the highest field first, whose sums divide exactly when the next one joins
them. So codes are never unpacked, nor written anywhere: an and for each register of weights, which then serves all rows
of the block, and no more sums in flight than registers hold. The tile is read once a field, from the nearest cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import Panel, Registers, registers, splat

__all__ = ["sum_by_field"]


def sum_by_field(panel: Panel, first: Any, chunks: Any, totals: Registers) -> None:
    """Set `totals` to the sums over `chunks` chunks from `first` on."""
    sums = registers(panel.sums, "int32", panel.isa.lanes)
    for index in range(panel.sums):
        sums[index] = panel.zeros()
    for field, shift in _order(panel):
        with panel.parts(first, chunks) as (chunk, start):
            _add(panel, chunk, start, field, sums)
        if shift:
            for index in range(panel.sums):
                sums[index] = T.shift_right(sums[index], splat(T.int32(shift), panel.isa.lanes))
    totals.put(0, panel.by_row(sums.some(0, panel.sums)))


def _order(panel: Panel) -> Iterator[tuple[int, int]]:
    """Fields from the one that comes out largest, with what its sums are to be shifted by before the next."""
    scale = {field: panel.isa.shift(panel.layout, field) for field in range(panel.layout.fields)}
    fields = sorted(scale, key=lambda field: (-scale[field], field))
    for field, after in zip(fields, [*fields[1:], None], strict=True):
        yield field, scale[field] - (scale[after] if after is not None else 0)


def _add(panel: Panel, chunk: Any, start: Any, field: int, sums: Registers) -> None:
    """The groups from `start` on that come together."""
    groups = range(panel.together)
    weights = [
        [panel.isa.weights(panel.packed(chunk, start + group, vector), panel.layout, field) for group in groups]
        for vector in range(panel.vectors)
    ]
    for band in range(len(panel.bands)):
        inputs = panel.inputs(band, chunk, field, start)
        for vector in range(panel.vectors):
            panel.add(sums, 0, band, vector, weights[vector], inputs)
