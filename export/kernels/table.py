"""Rows of a packed matrix as floats: an embedding that lies as the product which it is tied to reads it.

    y[m, k] = s[n, B] · (code[n, k] − zero),        n = ids[m],  B = k / block

A row's codes are one lane of the registers of its tile (`packing.py`). Ids that there are not read the nearest row.
"""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.call import Call, kernel
from compressor.export.kernels.module import add_function, constant, count, known
from compressor.export.kernels.packing import Layout, Packed

__all__ = ["emit_table", "table_rows"]


def emit_table(builder: Any, ids: Any, packed: Packed) -> Any:
    """Emit the look-up into a relax `builder`'s function; ids of any shape → the relax variable (ids…, K) float32."""
    layout, lead = packed.layout, list(ids.ty.shape.values)
    rows = count(lead)
    flat = builder.emit(relax.op.reshape(relax.op.astype(ids, "int64"), (rows,)))
    look = add_function(builder, table_rows(layout, known(rows)), "table_rows")
    stored = [constant(packed.codes), constant(packed.scales)]
    y = relax.call_tir(look, [flat, *stored], relax.TensorType((rows, layout.inputs), "float32"))
    return builder.emit(relax.op.reshape(builder.emit(y), (*lead, layout.inputs)))


def table_rows(layout: Layout, rows: int | None = None, name: str = "table_rows", *, in_c: bool = False) -> Any:
    """The function (ids int64 (M), codes, scales, y float32 (M, K)); `rows` M, None where it is known when it runs.

    `in_c`: called from C (`call.py`), a row a unit.
    """

    def shapes(count: Any) -> list[tuple[str, tuple[Any, ...], str]]:
        return [
            ("ids", (count,), "int64"),
            ("codes", (layout.columns * layout.chunks * layout.step,), "uint8"),
            ("scales", (layout.columns * layout.lanes * layout.blocks,), "float32"),
            ("y", (count, layout.inputs), "float32"),
        ]

    def emit(call: Call) -> None:
        ids, codes, scales, y = (call.buffers[each] for each in ("ids", "codes", "scales", "y"))

        def one(row: Any) -> None:
            number = T.bind(T.max(T.min(ids[row], T.int64(layout.outputs - 1)), T.int64(0)))
            place = _Place(layout, number)
            with T.serial(0, layout.inputs) as k:
                T.buffer_store(y, place.code(codes, k) * place.scale(scales, k), [row, k])

        call.each_row(one)

    return kernel(name, rows, shapes, emit, in_c=in_c)


class _Place:
    """Where the codes and scales of output `number` lie."""

    def __init__(self, layout: Layout, number: Any) -> None:
        self.layout = layout
        column = number // layout.lanes
        self.lane, tile = number % layout.lanes, column // layout.vectors
        self.vector = column % layout.vectors
        self.first = tile * layout.vectors  # columns before the tile
        self.vectors = T.bind(T.min(T.int64(layout.vectors), layout.columns - self.first))

    def code(self, codes: Any, k: Any) -> Any:
        """The weight at input k, as a float without its scale."""
        layout = self.layout
        chunk, rest = k // layout.chunk, k % layout.chunk
        field, group = rest // (layout.run * layout.group), rest // layout.group % layout.run
        step = (chunk * layout.run + group) * self.vectors + self.vector
        within = self.lane * layout.group + k % layout.group
        byte = codes[self.first * layout.chunks * layout.step + step * layout.register + within]
        if layout.zero == 0:
            return T.Cast("float32", T.reinterpret("int8", byte))
        shifted = T.shift_right(T.Cast("int32", byte), T.Cast("int32", field * layout.bits))
        return T.Cast("float32", (shifted & T.int32(2**layout.bits - 1)) - T.int32(layout.zero))

    def scale(self, scales: Any, k: Any) -> Any:
        layout = self.layout
        block = k // (layout.block or layout.inputs)
        return scales[(self.first * layout.blocks + block * self.vectors + self.vector) * layout.lanes + self.lane]
