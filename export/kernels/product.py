"""A product of int8 activations with packed weights, as one function of TVM's TIR.

    y[m, n] = act(s_x[m] · s_w[n] · (Σ_k c[n, k] · x[m, k] − z · Σ_k x[m, k]) + b[n])          a scale a row
    y[m, n] = act(s_x[m] · Σ_B s_w[n, B] · (Σ_{k ∈ B} c[n, k] · x[m, k] − z · Σ_{k ∈ B} x[m, k]) + b[n])      a block

c = w + z are the codes of `packing.py`, x, s_x and Σ x come from `activations.py`. The integers are exact; of floats
there is one product of the two scales and one multiply–add (with a bias; else one product) for each output, by block
one multiply–add a block, in the order of blocks. Tiles of outputs run in parallel, where they are worth it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.call import Call, kernel
from compressor.export.kernels.epilogue import Epilogue
from compressor.export.kernels.few_rows import fits, sum_across_fields
from compressor.export.kernels.many_rows import sum_by_field
from compressor.export.kernels.outputs import Arguments, Product, Tile, scaled_by_row, summed_by_block, write_rows
from compressor.export.kernels.packing import Layout
from compressor.export.kernels.panel import Panel, Registers, registers, splat

__all__ = ["ROWS", "product", "units"]

_FEW = 2  # rows whose sums are better added up apart
_PART = 24 << 10  # bytes of a tile that all fields and all rows meet before the next: half of a first cache
_STREAM = 1 << 16  # inputs of one sum across fields: 4³ times too large, it still fits 32 bits
ROWS = 128  # rows of one unit of parallel work


def product(spec: Product, name: str = "product") -> Any:
    """The function (x int8 (M, stride), s_x (M, 1 or blocks), Σx int32 (M, blocks), codes, scales [, offsets] [, bias]
    [, residual (M, N)], y (M, N)).

    Codes and scales are flat, as `Packed` has them, offsets and bias as `pack_outputs` gives them.
    """
    return kernel(name, spec.rows, partial(_shapes, spec), partial(_body, spec), in_c=spec.in_c)


def units(layout: Layout, rows: int) -> int:
    """Units of work of a product with so many rows, as a caller in C shares them out."""
    return (layout.tiles + (1 if layout.last else 0)) * -(-rows // ROWS)


def _shapes(spec: Product, rows: Any) -> list[tuple[str, tuple[Any, ...], str]]:
    layout = spec.layout
    padded = layout.columns * layout.lanes
    bias, offsets = ("bias", (padded,), "float32"), ("offsets", (padded,), "int32")
    return [
        ("x", (rows, layout.stride), "int8"),
        ("x_scales", (rows, layout.blocks if spec.by_block else 1), "float32"),
        ("x_sums", (rows, layout.blocks), "int32"),
        ("codes", (layout.columns * layout.chunks * layout.step,), "uint8"),
        ("scales", (padded * layout.blocks,), "float32"),
        *([offsets] if spec.offsets else []),
        *([bias] if spec.bias else []),
        *([("residual", (rows, layout.outputs), "float32")] if spec.ending.residual else []),
        ("y", (rows, layout.outputs), spec.ending.kind),
    ]


def _body(spec: Product, call: Call) -> None:
    """Units of work: a tile for some rows."""
    layout, taken = spec.layout, dict(call.buffers)
    epilogue = Epilogue(spec.ending, taken.pop("y"), taken.pop("residual", None))
    given = Arguments(
        rows=call.rows, offsets=taken.pop("offsets", None), bias=taken.pop("bias", None), epilogue=epilogue, **taken
    )
    tiles = layout.tiles + (1 if layout.last else 0)
    parts = 1 if isinstance(given.rows, int) and given.rows <= ROWS else (given.rows + ROWS - 1) // ROWS
    with call.units(tiles * parts, parallel=spec.parallel) as unit:
        tile, start = unit // parts, unit % parts * ROWS
        count = given.rows if parts == 1 else T.min(given.rows - start, ROWS)
        whole = Tile(spec, given, tile, layout.vectors, ends=False)
        last = Tile(spec, given, tile, layout.last, ends=True)
        if layout.last == 0 or layout.tiles == 0:
            _tile(last if layout.last else whole, start, count)
        else:
            with T.If(tile < layout.tiles):
                with T.Then():
                    _tile(whole, start, count)
                with T.Else():
                    _tile(last, start, count)


def _tile(tile: Tile, start: Any, count: Any) -> None:
    """A tile of outputs for `count` rows from `start`: by blocks of rows, then the rest."""
    block = tile.spec.isa.rows
    whole, rest = count // block, count % block
    if not (isinstance(whole, int) and whole == 0):
        _blocks(tile, start, whole)
    after = start + whole * block
    least = math.gcd(tile.spec.multiple, ROWS)
    while (block := block // 2) >= least:  # the rest by halves: as little code as there is for all that it may be
        with _where(rest & block) as wanted:
            if wanted:
                _rows(tile, after, block)
        after = after + (rest & block)


@contextmanager
def _where(value: Any) -> Iterator[bool]:
    """Code for where a number is not zero; whether there is any."""
    if isinstance(value, int):
        yield value != 0
        return
    with T.If(value != 0), T.Then():
        yield True


def _blocks(tile: Tile, start: Any, whole: Any) -> None:
    """`whole` blocks of rows: part after part of the tile, which stays in the nearest cache while all rows meet it."""
    layout, block = tile.spec.layout, tile.spec.isa.rows
    deep = _deep(tile)
    if layout.block is not None or layout.chunks <= deep or (isinstance(whole, int) and whole == 1):
        with T.serial(0, whole) as index:
            _rows(tile, start + index * block, block)
        return
    count = block * tile.vectors
    kept = T.alloc_buffer((ROWS // block * count,), f"int32x{layout.lanes}")
    with T.serial(0, -(-layout.chunks // deep)) as part, T.serial(0, whole) as index:
        sums = registers(count, "int32", layout.lanes)
        sum_by_field(tile.panel(start + index * block, block), part * deep, _limited(layout, part, deep), sums)
        for each in range(count):
            before = T.Select(part == 0, splat(T.int32(0), layout.lanes), kept[index * count + each])
            T.buffer_store(kept, before + sums[each], [index * count + each])
    with T.serial(0, whole) as index:
        totals = [kept[index * count + each] for each in range(count)]
        write_rows(tile, start + index * block, block, scaled_by_row(tile, start + index * block, block, totals))


def _rows(tile: Tile, start: Any, number: int) -> None:
    """A few rows at once."""
    layout, panel = tile.spec.layout, tile.panel(start, number)
    few = number <= _FEW and fits(panel)
    add = sum_across_fields if few else sum_by_field
    if layout.block is not None:
        write_rows(tile, start, number, summed_by_block(tile, start, number, add))
        return
    totals = registers(panel.count, "int32", layout.lanes)
    _sums(panel, add, _STREAM // layout.chunk if few else _deep(tile), totals)
    write_rows(tile, start, number, scaled_by_row(tile, start, number, [totals[i] for i in range(panel.count)]))


def _sums(panel: Panel, add: Callable[[Panel, Any, Any, Registers], None], deep: int, totals: Registers) -> None:
    """The sums over all inputs, `deep` chunks at a time."""
    layout = panel.layout
    if layout.chunks <= deep:
        add(panel, 0, layout.chunks, totals)
        return
    for index in range(panel.count):
        totals[index] = panel.zeros()
    with T.serial(0, -(-layout.chunks // deep)) as part:
        sums = registers(panel.count, "int32", layout.lanes)
        add(panel, part * deep, _limited(layout, part, deep), sums)
        for index in range(panel.count):
            totals[index] = totals[index] + sums[index]


def _deep(tile: Tile) -> int:
    """Chunks of a part of a tile."""
    return max(1, _PART // (tile.vectors * tile.spec.layout.step))


def _limited(layout: Layout, part: Any, deep: int) -> Any:
    """Chunks of one part: the last may have fewer."""
    return deep if layout.chunks % deep == 0 else T.min(layout.chunks - part * deep, deep)
