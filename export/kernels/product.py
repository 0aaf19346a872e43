"""A product of int8 activations with packed weights, as one function of TVM's TIR.

    y[m, n] = act(s_x[m] · s_w[n] · (Σ_k c[n, k] · x[m, k] − z · Σ_k x[m, k]) + b[n])          a scale a row
    y[m, n] = act(s_x[m] · Σ_B s_w[n, B] · (Σ_{k ∈ B} c[n, k] · x[m, k] − z · Σ_{k ∈ B} x[m, k]) + b[n])      a block

c = w + z are the codes of `packing.py`, x, s_x and Σ x come from `activations.py`. The integers are exact; of floats
there is one product of the two scales and one multiply–add (with a bias; else one product) for each output, by block
one multiply–add a block, in the order of blocks. Tiles of outputs run in parallel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.few_rows import fits, sum_across_fields
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.many_rows import sum_by_field
from compressor.export.kernels.packing import Layout
from compressor.export.kernels.panel import Panel, Registers, function, registers, splat

__all__ = ["Product", "product"]

_DEEP = 1024  # inputs of one pass over fields: its weights and activations stay in the first cache
_STREAM = 1 << 16  # inputs of one sum across fields: 4³ times too large, it still fits 32 bits
_ROWS = 128  # rows of one unit of parallel work


@dataclass(frozen=True)
class Product:
    """A product's shape: `layout` and `zero` of its weights, `rows` (None: known when it runs), how far apart rows of
    activations lie (`stride`, bytes), and what happens to the sums: `bias`, `relu`."""

    isa: Isa
    layout: Layout
    zero: int
    stride: int
    rows: int | None = None
    bias: bool = False
    relu: bool = False


@dataclass(frozen=True)
class _Arguments:
    rows: Any
    x: Any
    x_scales: Any
    x_sums: Any
    codes: Any
    scales: Any
    bias: Any
    y: Any


def product(spec: Product, name: str = "product") -> Any:
    """The function (x int8 (M, stride), s_x (M, 1), Σx int32 (M, blocks), codes, scales [, bias], y (M, N)).

    Codes and scales are flat, as `Packed` has them, and the bias as `pack_bias` gives it.
    """
    with function(name) as builder:
        given = _arguments(spec)
        _body(spec, given)
    return builder.get()


def _arguments(spec: Product) -> _Arguments:
    layout = spec.layout
    rows = tirx.Var("rows", "int64") if spec.rows is None else spec.rows
    padded = layout.columns * layout.lanes
    bias = ("bias", (padded,), "float32")
    shapes = [
        ("x", (rows, spec.stride), "int8"),
        ("x_scales", (rows, 1), "float32"),
        ("x_sums", (rows, layout.blocks), "int32"),
        ("codes", (layout.columns * layout.chunks * layout.step,), "uint8"),
        ("scales", (padded * layout.blocks,), "float32"),
        *([bias] if spec.bias else []),
        ("y", (rows, layout.outputs), "float32"),
    ]
    made = {name: T.arg(name, T.Buffer(shape, dtype)) for name, shape, dtype in shapes}
    return _Arguments(rows=rows, bias=made.pop("bias", None), **made)


def _body(spec: Product, given: _Arguments) -> None:
    """Units of work: a tile for some rows."""
    layout = spec.layout
    tiles = layout.tiles + (1 if layout.last else 0)
    parts = 1 if spec.rows is not None and spec.rows <= _ROWS else (given.rows + _ROWS - 1) // _ROWS
    with T.parallel(0, tiles * parts) as unit:
        tile, start = unit // parts, unit % parts * _ROWS
        count = given.rows if parts == 1 else T.min(given.rows - start, _ROWS)
        if layout.last == 0:
            _tile(spec, given, tile, layout.vectors, start, count)
        elif layout.tiles == 0:
            _tile(spec, given, tile, layout.last, start, count)
        else:
            with T.If(tile < layout.tiles):
                with T.Then():
                    _tile(spec, given, tile, layout.vectors, start, count)
                with T.Else():
                    _tile(spec, given, tile, layout.last, start, count)


def _tile(spec: Product, given: _Arguments, tile: Any, vectors: int, start: Any, count: Any) -> None:
    """A tile of outputs for `count` rows from `start`: by blocks of rows, then the rest."""
    block = spec.isa.rows
    whole, rest = count // block, count % block
    if not (isinstance(whole, int) and whole == 0):
        with T.serial(0, whole) as index:
            _rows(spec, given, tile, vectors, start + index * block, block)
    after = start + whole * block
    while (block := block // 2) > 0:  # the rest by halves: as little code as there is for all that it may be
        with _where(rest & block) as wanted:
            if wanted:
                _rows(spec, given, tile, vectors, after, block)
        after = after + (rest & block)


@contextmanager
def _where(value: Any) -> Iterator[bool]:
    """Code for where a number is not zero; whether there is any."""
    if isinstance(value, int):
        yield value != 0
        return
    with T.If(value != 0), T.Then():
        yield True


def _rows(spec: Product, given: _Arguments, tile: Any, vectors: int, start: Any, number: int) -> None:
    layout = spec.layout
    rows = tuple(start + index for index in range(number))
    byte = tile * (layout.vectors * layout.chunks * layout.step)
    panel = Panel(spec.isa, layout, spec.zero, given.x, rows, given.codes, byte, vectors)
    scales = tile * (layout.vectors * layout.lanes * layout.blocks)
    first = tile * (layout.vectors * layout.lanes)
    values = _by_row(panel, given, scales) if layout.block is None else _by_block(panel, given, scales)
    for index, value in enumerate(values):
        row, vector = divmod(index, vectors)
        _write(spec, given, rows[row], first + vector * layout.lanes, value, vectors == layout.last == vector + 1)


def _by_row(panel: Panel, given: _Arguments, scales: Any) -> Iterator[tuple[Any, Any]]:
    """For each register of sums their value as float and what it is to be multiplied with."""
    layout, lanes = panel.layout, panel.isa.lanes
    few = fits(panel)
    deep = (_STREAM if few else _DEEP) // layout.chunk
    totals = registers(panel.count, "int32", lanes)
    _sums(panel, few, deep, totals)
    for index in range(panel.count):
        row, vector = divmod(index, panel.vectors)
        total = totals[index]
        if panel.zero:
            total = total - splat(panel.zero * given.x_sums[panel.rows[row], 0], lanes)
        scale = given.scales.vload([scales + vector * lanes], f"float32x{lanes}")
        yield T.Cast(f"float32x{lanes}", total), scale * splat(given.x_scales[panel.rows[row], 0], lanes)


def _sums(panel: Panel, few: bool, deep: int, totals: Registers) -> None:
    """The sums over all inputs, `deep` chunks at a time."""
    add, chunks = sum_across_fields if few else sum_by_field, panel.layout.chunks
    if chunks <= deep:
        add(panel, 0, chunks, totals)
        return
    for index in range(panel.count):
        totals[index] = panel.zeros()
    with T.serial(0, -(-chunks // deep)) as part:
        sums = registers(panel.count, "int32", panel.isa.lanes)
        count = deep if chunks % deep == 0 else T.min(chunks - part * deep, deep)
        add(panel, part * deep, count, sums)
        for index in range(panel.count):
            totals[index] = totals[index] + sums[index]


def _by_block(panel: Panel, given: _Arguments, scales: Any) -> Iterator[tuple[Any, Any]]:
    layout, lanes = panel.layout, panel.isa.lanes
    deep = layout.chunks // layout.blocks
    floats = registers(panel.count, "float32", lanes)
    for index in range(panel.count):
        floats[index] = splat(T.float32(0), lanes)
    with T.serial(0, layout.blocks) as block:
        sums = registers(panel.count, "int32", lanes)
        (sum_across_fields if fits(panel) else sum_by_field)(panel, block * deep, deep, sums)
        for index in range(panel.count):
            row, vector = divmod(index, panel.vectors)
            total = sums[index]
            if panel.zero:
                total = total - splat(panel.zero * given.x_sums[panel.rows[row], block], lanes)
            at = scales + (block * panel.vectors + vector) * lanes
            scale = given.scales.vload([at], f"float32x{lanes}")
            floats[index] = _fused(T.Cast(f"float32x{lanes}", total), scale, floats[index], lanes)
    for index in range(panel.count):
        yield floats[index], splat(given.x_scales[panel.rows[index // panel.vectors], 0], lanes)


def _write(spec: Product, given: _Arguments, row: Any, first: Any, value: tuple[Any, Any], ends: bool) -> None:
    """One register of outputs from output `first` on; where the matrix ends within it, its part."""
    lanes, rest = spec.isa.lanes, spec.layout.outputs % spec.isa.lanes
    if given.bias is None:
        result = value[0] * value[1]
    else:
        result = _fused(*value, given.bias.vload([first], f"float32x{lanes}"), lanes)
    if spec.relu:
        result = T.max(result, splat(T.float32(0), lanes))
    if not ends or rest == 0:
        T.buffer_store(given.y, result, [row, T.ramp(first, 1, lanes)])
        return
    result = T.bind(result)
    for lane in range(rest):
        one = tirx.Shuffle([result], [tirx.IntImm("int32", lane)])
        T.buffer_store(given.y, one, [row, first + lane])


def _fused(left: Any, right: Any, plus: Any, lanes: int) -> Any:
    """left · right + plus, rounded once, as every processor with kernels does."""
    return T.call_llvm_pure_intrin(f"float32x{lanes}", f"llvm.fma.v{lanes}f32", left, right, plus)
