"""One row, or two: each byte of the weights is loaded once, and its fields are added up apart.

    total = Σ_f 4^−f · Σ_c (byte[c] & (3 · 4^f)) · x[c, f]

An and and a dot product a field, no shift: the sums of field f are exactly 4^f times too large, and are shifted once at
the end. Four times as many sums in flight also hide the latency of the dot product, which a single row could not.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import Panel, Registers, registers, splat

__all__ = ["fits", "sum_across_fields"]

_OTHERS = 3  # registers for a load, activations and what a mask gives


def fits(panel: Panel) -> bool:
    """Whether the sums of all fields, and their masks, stay in registers."""
    fields = panel.layout.fields
    return panel.sums * fields + (fields if fields > 1 else 0) + _OTHERS <= panel.isa.registers


def sum_across_fields(panel: Panel, first: Any, chunks: Any, totals: Registers) -> None:
    """Set `totals` to the sums over `chunks` chunks from `first` on."""
    layout, isa, count = panel.layout, panel.isa, panel.sums
    sums = registers(layout.fields * count, "int32", isa.lanes)
    for index in range(layout.fields * count):
        sums[index] = panel.zeros()
    with panel.parts(first, chunks) as (chunk, start):
        inputs = [
            [panel.inputs(band, chunk, field, start) for band in range(len(panel.bands))]
            for field in range(layout.fields)
        ]
        for vector in range(panel.vectors):
            packed = []
            for group in range(panel.together):
                panel.prefetch(chunk, start + group, vector)
                packed.append(T.bind(panel.packed(chunk, start + group, vector)))
            for field in range(layout.fields):
                weights = [isa.weights(each, layout, field) for each in packed]
                for band in range(len(panel.bands)):
                    panel.add(sums, field * count, band, vector, weights, inputs[field][band])
    by_field = [panel.by_row(sums.some(field * count, count)) for field in range(layout.fields)]
    for index in range(panel.count):
        parts = [_scaled(panel, values[index], field) for field, values in enumerate(by_field)]
        totals[index] = sum(parts[1:], parts[0])


def _scaled(panel: Panel, value: Any, field: int) -> Any:
    shift = panel.isa.shift(panel.layout, field)
    return value if shift == 0 else T.shift_right(value, splat(T.int32(shift), panel.isa.lanes))
