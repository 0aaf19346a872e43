"""A matrix's codes by one of the solvers, on a grid of any format from int8 down to ternary.

nearest, mse, hqq   the nearest codes of a grid that knows weights alone (`grids.py`)
gptq                GPTQ's codes (`gptq.py`); with 7 or 8 bits on the nearest grid, with fewer on the mse grid, and
                    then scales (`refit.py`) and codes in turn: the pair with the least ‖(W − Ŵ)X‖
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.quant.blocks import TERNARY
from compressor.quant.formats import Format
from compressor.quant.grids import Grid, Search, Share, find_grid, ternary_grid
from compressor.quant.solvers.gptq import gptq
from compressor.quant.solvers.refit import output_error, refit
from compressor.quant.ternary import Rule

__all__ = ["SOLVERS", "Rounded", "Solver", "round_matrix"]

Solver = Literal["nearest", "mse", "hqq", "gptq"]
SOLVERS: tuple[Solver, ...] = ("nearest", "mse", "hqq", "gptq")
_TURNS = 2  # of scales and codes: on MiniLM a third lowered the error by another hundredth


@dataclass(frozen=True)
class Rounded:
    """Codes (N, K) int8 and the grid that they are on."""

    codes: Tensor
    grid: Grid

    @property
    def values(self) -> Tensor:
        """The float32 matrix (N, K) that is stored."""
        return self.grid.values(self.codes)


def round_matrix(
    matrix: Tensor,
    format: Format,
    solver: Solver = "mse",
    gram: Tensor | None = None,
    *,
    block: int | None = None,
    share: Share = "block",
    rule: Rule = "fitted",
) -> Rounded:
    """Codes for groups × outputs × inputs; `gram` (groups × inputs × inputs) is what gptq needs.

    `block` inputs share a scale, all of a row's where it is None. `share` and `rule` are for ternary ones.

    Raises InputError for NaN or infinity, and for gptq without a gram matrix.
    """
    rows = matrix.flatten(0, 1)
    search: Search = ("mse" if format.bits < 7 else "nearest") if solver == "gptq" else solver
    if format is TERNARY:
        grid = ternary_grid(rows, format, block or rows.shape[1], share=share, rule=rule, search=search)
    else:
        grid = find_grid(rows, format, block, search)
    if solver != "gptq":
        return Rounded(grid.codes(rows.float()), grid)
    if gram is None:
        raise InputError("gptq rounds by what a layer reads, and there are no inputs")
    fits = format.bits < 7 and (format is not TERNARY or rule == "fitted")
    if share == "tensor" and len(matrix) > 1:
        fits = False
    size = matrix.shape[1]
    parts = [
        _solved(part, products, _rows(grid, index * size, size), share, _TURNS if fits else 1)
        for index, (part, products) in enumerate(zip(matrix, gram, strict=True))
    ]
    below = [part.grid.below for part in parts if part.grid.below is not None]
    whole = replace(grid, scale=torch.cat([p.grid.scale for p in parts]), below=torch.cat(below) if below else None)
    return Rounded(torch.cat([part.codes for part in parts]), whole)


def _solved(weight: Tensor, gram: Tensor, grid: Grid, share: Share, turns: int) -> Rounded:
    best = Rounded(grid.codes(weight.float()), grid)
    least = output_error(weight, best.values, gram)
    for turn in range(turns):
        grid = refit(weight, gram, best.codes, grid, share) if turn else grid
        columns = torch.empty(weight.T.shape, dtype=torch.int8)
        gptq(weight, gram, _nearest(grid, columns))
        codes = columns.T.contiguous()
        found = Rounded(codes, grid)
        if turns > 1:
            fitted = Rounded(codes, refit(weight, gram, codes, grid, share))
            found = min(found, fitted, key=lambda one: output_error(weight, one.values, gram))
        error = output_error(weight, found.values, gram)
        if error >= least and turn:
            break
        if error < least:
            best, least = found, error
    return best


def _nearest(grid: Grid, columns: Tensor) -> Callable[[Tensor, int], Tensor]:
    """What GPTQ asks for; the codes (K, N) are kept, so that what is stored is what it found."""

    def nearest(weights: Tensor, column: int) -> Tensor:
        columns[column], values = grid.column(weights, column)
        return values

    return nearest


def _rows(grid: Grid, start: int, size: int) -> Grid:
    below = grid.below[start : start + size] if grid.below is not None else None
    return replace(grid, scale=grid.scale[start : start + size], below=below)
