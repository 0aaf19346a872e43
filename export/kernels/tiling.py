"""How many rows and registers of outputs an innermost loop of floats works on at once.

    cost of a block = steps · (max(R · V, latency) + loads · (R + 2 V)) + ends · R · V

R rows by V registers of sums, V of weights and those of inputs must fit the registers; where bands of B rows have their
sums side by side, R is whole bands, and weights take B · V. Fewer sums than a multiply–add takes clocks would wait for
each other. Of all that fit, the one that covers `across` × `columns` with least cost is taken: blocks at the ends are
cheaper than whole ones, but not free.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from compressor.export.kernels.isa import Isa

__all__ = ["Tiling", "held", "tiling"]

_WIDEST = 4  # registers of outputs
_MOST = 14  # rows
_LATENCY = 12  # multiply–adds that may be under way
_LOADS = 0.1  # of a multiply–add: a register from the first cache; weights come from the second
_ENDS = 4  # steps


@dataclass(frozen=True)
class Tiling:
    """`rows` × `vectors` registers of sums."""

    rows: int
    vectors: int


def tiling(isa: Isa, across: int, columns: int, steps: int, run: int = 1, band: int = 1) -> Tiling:
    """For `across` neighbouring outputs that share weights, `columns` registers of channels, and sums of `steps`, of
    which `run` have their inputs from one load, and `band` outputs meet weights at once."""
    found = (
        Tiling(rows, vectors)
        for rows, vectors in itertools.product(range(1, _MOST + 1), range(1, _WIDEST + 1))
        if rows <= across and vectors <= columns and held(isa, rows, vectors, run, band) <= isa.registers
    )
    return min(found, key=lambda each: _cost(each, across, columns, steps, run, band))


def held(isa: Isa, rows: int, vectors: int, run: int, band: int) -> int:
    """Registers of sums, weights and inputs: what a load brings stays until all of it has met weights."""
    inputs = 1 if run == 1 else -(-4 * rows // isa.lanes)
    return (-(-rows // band) + 1) * band * vectors + inputs


def _cost(each: Tiling, across: int, columns: int, steps: int, run: int, band: int) -> float:
    """Of all blocks, those at the ends included."""
    return sum(
        down
        * right
        * (steps * (max(rows * vectors, _LATENCY) + _LOADS * (rows / run + 2 * vectors)) + _ENDS * rows * vectors)
        for rows, down in ((-(-rows // band) * band, down) for rows, down in _parts(across, each.rows))
        for vectors, right in _parts(columns, each.vectors)
    )


def _parts(whole: int, part: int) -> tuple[tuple[int, int], ...]:
    """(size, how many)."""
    return (part, whole // part), (whole % part, 1 if whole % part else 0)
