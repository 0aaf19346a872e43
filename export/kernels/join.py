"""Tensors one after the other along an axis, each copied in runs of memory: a cache, and the places that it grows by.

    y[.., o_i + p, ..] = x_i[.., p, ..],        o_i = Σ_{j < i} length_j

One loop over all of y would ask for each element whose it is, and compilers make no vectors of that.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from typing import Any

from tvm import relax, tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.module import add_function, known
from compressor.export.kernels.panel import body, function

__all__ = ["Join", "emit_join", "join"]


@dataclass(frozen=True)
class Join:
    """What is joined: the sizes of each part, None where they are known when it runs, alike but for the `axis`."""

    parts: tuple[tuple[int | None, ...], ...]
    axis: int
    dtype: str


def emit_join(builder: Any, parts: Sequence[Any], axis: int, shape: Sequence[Any]) -> Any:
    """Emit it into a relax `builder`'s function; parts of one dtype → the relax variable of `shape`."""
    sizes = tuple(tuple(known(size) for size in part.ty.shape.values) for part in parts)
    joined = add_function(builder, join(Join(sizes, axis, str(parts[0].ty.dtype))), "join")
    y = relax.TensorType(list(shape), parts[0].ty.dtype)
    return builder.emit(relax.call_tir(joined, relax.Tuple(list(parts)), y))


def join(spec: Join, name: str = "join") -> Any:
    """The function (x_0, …, x_n, y)."""
    first = spec.parts[0]
    around = [tirx.Var(f"size_{i}", "int64") if size is None else size for i, size in enumerate(first)]
    lengths = [
        tirx.Var(f"length_{i}", "int64") if part[spec.axis] is None else part[spec.axis]
        for i, part in enumerate(spec.parts)
    ]  # fmt: skip
    whole: Any = tirx.Var("whole", "int64") if any(part[spec.axis] is None for part in spec.parts) else sum(lengths)
    with function(name) as builder:
        shapes = [[*around[: spec.axis], length, *around[spec.axis + 1 :]] for length in (*lengths, whole)]
        *given, y = (
            T.arg(name, T.Buffer(shape, spec.dtype))
            for name, shape in zip((*(f"x{i}" for i in range(len(lengths))), "y"), shapes, strict=True)
        )
        with body(), ExitStack() as stack:
            outer = [stack.enter_context(T.serial(0, size)) for size in around[: spec.axis]]
            for index, x in enumerate(given):
                _copy(x, y, outer, reduce(operator.add, lengths[:index], T.int64(0)), shapes[index][spec.axis :])
    return builder.get()


def _copy(x: Any, y: Any, outer: Sequence[Any], start: Any, sizes: Sequence[Any]) -> None:
    with ExitStack() as stack:
        place, *inner = (stack.enter_context(T.serial(0, size)) for size in sizes)
        T.buffer_store(y, x[(*outer, place, *inner)], [*outer, start + place, *inner])
