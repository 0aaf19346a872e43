"""Loops of sums in an order that fits vectors, which TVM's defaults leave to tuning.

    for rows: for columns: for sum: out += a · b    →    for rows: for columns / L: for sum: T × (L lanes: out += a · b)

The lanes run along the axis that moves output and operand by one element (a convolution's columns, a matrix product's
output features) while other operands stay. The sums wait in registers until they are complete. A second axis, which
the moving operand does not know (output channels, rows), is unrolled: each vector that is loaded serves T sums. What
has no such axis, or only one of unknown size, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Vectors", "in_vectors"]

_FEWEST = 4  # lanes; with fewer, loops stay as they are


@dataclass(frozen=True)
class Vectors:
    """What a processor's registers hold: `lanes` of one axis at most, `unrolled` times."""

    lanes: int
    unrolled: int


@dataclass(frozen=True)
class _Axes:
    """Positions among a block's axes: the one of the lanes, those that may be unrolled, all others that are spatial,
    and those that are summed."""

    lanes: int
    reusing: tuple[int, ...]
    spatial: tuple[int, ...]
    summed: tuple[int, ...]


def in_vectors(vectors: Vectors) -> Any:
    """A pass over a module's functions, to be run when operators have become loops."""
    import tvm
    from tvm import tirx

    def run(module: Any, _: Any) -> Any:
        for name, function in list(module.functions_items()):
            if isinstance(function, tirx.PrimFunc):
                module.update_func(name, _scheduled(function, vectors))
        return module

    return tvm.transform.module_pass(run, opt_level=0)


def _scheduled(function: Any, vectors: Vectors) -> Any:
    """The function in another order, or as it is where a schedule has no place in it."""
    import tvm
    from tvm.s_tir import Schedule, ScheduleError

    schedule = Schedule(tvm.IRModule({"main": function}))
    try:
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            axes = _axes(schedule.get(block))
            if axes is not None and len(schedule.get_loops(block)) == len(schedule.get(block).iter_vars):
                _reorder(schedule, block, axes, vectors)
    except ScheduleError:
        return function
    return schedule.mod["main"]


def _reorder(schedule: Any, block: Any, axes: _Axes, vectors: Vectors) -> None:
    loops = schedule.get_loops(block)
    lanes = _divisor(_extent(schedule, loops[axes.lanes]), vectors.lanes)
    if lanes < _FEWEST:
        return
    times = {axis: _divisor(_extent(schedule, loops[axis]), vectors.unrolled) for axis in axes.reusing}
    unrolled = max(times, key=times.__getitem__, default=None)
    outer = [loops[axis] for axis in axes.spatial if axis not in (axes.lanes, unrolled)]
    inner = []
    if unrolled is not None:
        rest, copies = schedule.split(loops[unrolled], [None, times[unrolled]])
        outer, inner = [*outer, rest], [copies]
    rest, lane = schedule.split(loops[axes.lanes], [None, lanes])
    outer.append(rest)
    schedule.reorder(*outer, *(loops[axis] for axis in axes.summed), *inner, lane)
    written = schedule.cache_write(block, 0, "local")
    schedule.reverse_compute_at(written, rest)
    schedule.vectorize(schedule.get_loops(written)[-1])
    schedule.vectorize(lane)
    for loop in inner:
        schedule.unroll(loop)
    schedule.decompose_reduction(block, schedule.get_loops(block)[len(outer)])


def _axes(block: Any) -> _Axes | None:
    """Where lanes may run in this block; None where nothing is summed or there is no such axis."""
    kinds = [axis.iter_type for axis in block.iter_vars]
    spatial = tuple(i for i, kind in enumerate(kinds) if kind == block.iter_vars[i].DataPar)
    summed = tuple(i for i, kind in enumerate(kinds) if kind == block.iter_vars[i].CommReduce)
    if not summed or len(block.writes) != 1:
        return None
    written = _indices(block.writes[0])
    reads = [_indices(read) for read in block.reads if not read.source.same_as(block.writes[0].source)]
    for axis in reversed(spatial):
        variable = block.iter_vars[axis].var
        moving = [indices for indices in reads if any(_step(index, variable) != 0 for index in indices)]
        if moving and all(_along(indices, variable) for indices in (written, *moving)):
            reusing = tuple(
                other for other in spatial
                if other != axis and all(_step(i, block.iter_vars[other].var) == 0 for each in moving for i in each)
            )  # fmt: skip
            return _Axes(axis, reusing, spatial, summed)
    return None


def _along(indices: Sequence[Any], variable: Any) -> bool:
    """Whether a step of the variable is one of the last index by one element or two, and of no other."""
    return (
        bool(indices) and _step(indices[-1], variable) in (1, 2) and all(_step(i, variable) == 0 for i in indices[:-1])
    )


def _step(index: Any, variable: Any) -> int | None:
    """How far an index moves with a variable; None where that differs."""
    from tvm import sym, tirx

    found = sym.detect_linear_equation(index, [variable])
    return int(found[0]) if len(found) == 2 and isinstance(found[0], tirx.IntImm) else None


def _indices(region: Any) -> list[Any]:
    return [axis.min for axis in region.region]


def _extent(schedule: Any, loop: Any) -> int:
    """A loop's length, 1 where it is not known."""
    from tvm import tirx

    extent = schedule.get(loop).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else 1


def _divisor(number: int, limit: int) -> int:
    return max(each for each in range(1, limit + 1) if number % each == 0)
