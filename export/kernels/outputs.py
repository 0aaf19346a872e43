"""From exact integers to outputs: scales, bias and activation, on a register of outputs at a time.

    y = act(float(Σ) · (s_w · s_x) + b)                             a scale a row
    y = act((Σ_B float(Σ_{k ∈ B}) · s_w[B]) · s_x + b)              a scale a block, in the order of blocks
    y = act(b + Σ_B float(Σ_{k ∈ B}) · (s_w[B] · s_x[B]))           activations have one a block as well
    y = act(float(Σ + c) · (s_w · s_x) + b)                         whole numbers c added, a scale a row alone

A sum and a product that belong together are one fused multiply–add, rounded once: so the same on every processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.errors import InputError
from compressor.export.kernels.epilogue import PLAIN, Ending, Epilogue
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.packing import Layout
from compressor.export.kernels.panel import Panel, Registers, registers, splat
from compressor.export.kernels.vector_math import fused

__all__ = ["Arguments", "Product", "Tile", "scaled_by_row", "summed_by_block", "write_rows"]


@dataclass(frozen=True)
class Product:
    """A product's shape: `layout` of its weights, `rows` (None: known when it runs), and what happens to the sums.

    `by_block`: activations have scales by block, as `Rounding` says. `offsets`: a whole number for each output is added
    to its sums, which takes one scale a row. `parallel`: tiles are given to several threads. Rows whose
    number is not known are a multiple of `multiple`: less code where it is even. `in_c`: called from C (`call.py`).
    Raises InputError for offsets beside blocks.
    """

    isa: Isa
    layout: Layout
    rows: int | None = None
    bias: bool = False
    ending: Ending = PLAIN
    by_block: bool = False
    offsets: bool = False
    parallel: bool = True
    multiple: int = 1
    in_c: bool = False

    def __post_init__(self) -> None:
        if self.offsets and self.layout.block is not None:
            raise InputError("whole numbers are added to the sums of whole rows, not to those of blocks")


@dataclass(frozen=True)
class Arguments:
    rows: Any
    x: Any
    x_scales: Any
    x_sums: Any
    codes: Any
    scales: Any
    offsets: Any
    bias: Any
    epilogue: Epilogue


@dataclass(frozen=True)
class Tile:
    """Tile number `index` of a product's outputs, `vectors` registers wide; the last one `ends` the matrix."""

    spec: Product
    given: Arguments
    index: Any
    vectors: int
    ends: bool

    @property
    def scales(self) -> Any:
        """Where its scales begin."""
        layout = self.spec.layout
        return self.index * (layout.vectors * layout.lanes * layout.blocks)

    @property
    def first(self) -> Any:
        """Its first output."""
        return self.index * (self.spec.layout.vectors * self.spec.layout.lanes)

    def panel(self, start: Any, number: int) -> Panel:
        """With `number` rows from `start`."""
        layout, rows = self.spec.layout, tuple(start + index for index in range(number))
        byte = self.index * (layout.vectors * layout.chunks * layout.step)
        return Panel(self.spec.isa, layout, self.given.x, rows, self.given.codes, byte, self.vectors)


def scaled_by_row(tile: Tile, start: Any, number: int, totals: list[Any]) -> Iterator[tuple[Any, Any]]:
    """For each register of sums its value as float and what it is to be multiplied with."""
    lanes = tile.spec.isa.lanes
    for index, total in enumerate(totals):
        row, vector = divmod(index, tile.vectors)
        scale = tile.given.scales.vload([tile.scales + vector * lanes], f"float32x{lanes}")
        scale = scale * splat(tile.given.x_scales[start + row, 0], lanes)
        if tile.given.offsets is not None:
            total = total + tile.given.offsets.vload([tile.first + vector * lanes], f"int32x{lanes}")
        yield _float(tile, total, start + row, 0), scale


def summed_by_block(
    tile: Tile, start: Any, number: int, add: Callable[[Panel, Any, Any, Registers], None]
) -> Iterator[tuple[Any, Any]]:
    """The same where blocks of inputs have scales of their own: their sums by `add`.

    Where nothing is to be multiplied any more (None), the bias is in it: added at the end, compilers that may reorder
    sums would do so.
    """
    layout, lanes, panel = tile.spec.layout, tile.spec.isa.lanes, tile.panel(start, number)
    deep = layout.chunks // layout.blocks
    floats = registers(panel.count, "float32", lanes)
    for index in range(panel.count):
        floats[index] = splat(T.float32(0), lanes)
        if tile.spec.by_block and tile.given.bias is not None:
            floats[index] = tile.given.bias.vload([tile.first + index % tile.vectors * lanes], f"float32x{lanes}")
    with T.serial(0, layout.blocks) as block:
        sums = registers(panel.count, "int32", lanes)
        add(panel, block * deep, deep, sums)
        for index in range(panel.count):
            row, vector = divmod(index, tile.vectors)
            at = tile.scales + (block * tile.vectors + vector) * lanes
            scale = tile.given.scales.vload([at], f"float32x{lanes}")
            if tile.spec.by_block:
                scale = scale * splat(tile.given.x_scales[start + row, block], lanes)
            floats[index] = fused(_float(tile, sums[index], start + row, block), scale, floats[index], lanes)
    for index in range(panel.count):
        row = start + index // tile.vectors
        yield floats[index], None if tile.spec.by_block else splat(tile.given.x_scales[row, 0], lanes)


def _float(tile: Tile, total: Any, row: Any, block: Any) -> Any:
    """A sum without what the codes' zero put into it."""
    lanes = tile.spec.isa.lanes
    if tile.spec.layout.zero:
        total = total - splat(tile.spec.layout.zero * tile.given.x_sums[row, block], lanes)
    return T.Cast(f"float32x{lanes}", total)


def write_rows(tile: Tile, start: Any, number: int, values: Iterator[tuple[Any, Any]]) -> None:
    """All registers of `number` rows from `start`, by row."""
    spec = tile.spec
    for index, value in enumerate(values):
        row, vector = divmod(index, tile.vectors)
        _write(tile, start + row, tile.first + vector * spec.isa.lanes, value, tile.ends and vector + 1 == tile.vectors)


def _write(tile: Tile, row: Any, first: Any, value: tuple[Any, Any], ends: bool) -> None:
    """One register of outputs from output `first` on; where the matrix ends within it, its part."""
    given, lanes = tile.given, tile.spec.isa.lanes
    rest = tile.spec.layout.outputs % lanes if ends else 0
    result, factor = value
    if factor is not None and given.bias is None:
        result = result * factor
    elif factor is not None:
        result = fused(result, factor, given.bias.vload([first], f"float32x{lanes}"), lanes)
    if rest:
        given.epilogue.store_part(result, row, first, rest)
    else:
        given.epilogue.store(result, row, first, lanes)
