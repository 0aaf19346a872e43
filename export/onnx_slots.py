"""`compressor::expand_slots` as ONNX operators that compute the map: the file holds ψ, and no index.

    table(x) = ((a·x + b) · x + c) mod p mod size        Range, Mul, Add, Mod over a row's or a column's numbers
    j, then i moved by a table of the other              GatherElements, Add, Mod, in 32 bits
    w        = ψ[i·C + j] · sign                         Gather, Mul, Slice

Nothing here depends on an input: ONNX Runtime computes it once, when a session is made, and runs on dense weights then.
It takes time and memory there, about 70 bytes a weight while it lasts. ORT format is written after that, so its file
holds the dense weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.onnx_opset import opset18 as op

from compressor.quant.slots import PRIME, Grid, coefficients

__all__ = ["expand_slots", "is_slots"]

_ORIGIN = "pkg.torch.onnx.fx_node"  # where torch's exporter notes which call a node came from


def is_slots(node: ir.Node) -> bool:
    """Whether a node is a part of the map, from when it is translated until the model is cleaned."""
    return "expand_slots" in node.metadata_props.get(_ORIGIN, "")


def expand_slots(psi: Any, rows: int, seed: int, sizes: Sequence[int], scales: Sequence[float]) -> Any:
    """psi (m) → all weights in a row (Σ sizes)."""
    count, slots = sum(sizes), int(psi.shape[0])
    grid = Grid(rows, slots // rows, -(-count // slots))
    drawn = coefficients(grid, seed).numpy()
    flat = _numbers([grid.partitions, -1])
    shape = _numbers([grid.partitions, grid.rows, grid.columns])
    row, column = (_narrow(_range(size)) for size in (grid.rows, grid.columns))
    by = _narrow(_table(drawn[0], grid.rows, grid.columns))
    sums = op.Add(op.Reshape(by, _numbers([0, -1, 1])), op.Reshape(column, _numbers([1, 1, -1])))
    j = op.Mod(sums, _narrow(_number(grid.columns)))
    by = op.GatherElements(_narrow(_table(drawn[1], grid.columns, grid.rows)), op.Reshape(j, flat), axis=1)
    sums = op.Add(op.Reshape(by, shape), op.Reshape(row, _numbers([1, -1, 1])))
    i = op.Mod(sums, _narrow(_number(grid.rows)))
    values = op.Gather(psi, op.Add(op.Mul(i, _narrow(_number(grid.columns))), j))
    for drawn_sign, size, place in ((drawn[2], grid.rows, [0, -1, 1]), (drawn[3], grid.columns, [0, 1, -1])):
        sign = op.Sub(_number(1), op.Mul(_number(2), _table(drawn_sign, size, 2)))
        values = op.Mul(values, op.CastLike(op.Reshape(sign, _numbers(place)), psi))
    return op.Slice(op.Reshape(values, _numbers([-1])), _numbers([0]), _numbers([count]), _numbers([0]))


def _narrow(value: Any) -> Any:
    return op.Cast(value, to=ir.DataType.INT32)


def _table(drawn: np.ndarray[Any, Any], size: int, modulus: int) -> Any:
    """partitions × size."""
    x, prime = op.Reshape(_range(size), _numbers([1, -1])), _number(PRIME)
    a, b, c = (op.Constant(value=ir.tensor(part)) for part in drawn)
    inner = op.Mod(op.Add(op.Mul(a, x), b), prime)
    return op.Mod(op.Mod(op.Add(op.Mul(inner, x), c), prime), _number(modulus))


def _range(size: int) -> Any:
    return op.Range(_number(0), _number(size), _number(1))


def _number(value: int) -> Any:
    return op.Constant(value_int=value)


def _numbers(values: Sequence[int]) -> Any:
    return op.Constant(value_ints=list(values))
