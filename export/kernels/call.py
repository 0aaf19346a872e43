"""How a kernel is called: with tensors of TVM's, or from C with pointers and a share of the work.

    f(x, …, y)                           sizes are read from the tensors, and TVM's threads share the work
    f(rows, first, last, x, …, y)        in C: its units first … last − 1, in turn; threads are the caller's business

Pointers need no alignment but that of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import body, each_row, function

__all__ = ["Call", "kernel"]

Shape = tuple[str, Sequence[Any], str]


@dataclass(frozen=True)
class Call:
    """What a function is called with: how many `rows` there are, `buffers` by name, and in C its `share` of units."""

    rows: Any
    buffers: Mapping[str, Any]
    share: tuple[Any, Any] | None = None

    @contextmanager
    def units(self, count: Any, *, parallel: bool) -> Iterator[Any]:
        """The loop over `count` units of work, or over the share of them."""
        if self.share is not None:
            with T.serial(*self.share) as unit:
                yield unit
            return
        with (T.parallel if parallel else T.serial)(0, count) as unit:
            yield unit

    def each_row(self, one: Callable[[Any], None], *, parallel: bool = True) -> None:
        """A row is a unit."""
        if self.share is None:
            each_row(self.rows, one, parallel=parallel)
            return
        with T.serial(*self.share) as row:
            one(row)


def kernel(
    name: str, rows: int | None, shapes: Callable[[Any], Sequence[Shape]], emit: Callable[[Call], None], *,
    in_c: bool = False,
) -> Any:  # fmt: skip
    """The function of that name. `shapes` are name, shape and dtype of what it is called with, given the number of
    rows, which is `rows` or (None, and always in C) known when it runs; `emit` makes its body."""
    with function(name) as builder:
        numbers = [T.arg(each, T.int64()) for each in ("rows", "first", "last")] if in_c else []
        count = numbers[0] if in_c else tirx.Var("rows", "int64") if rows is None else rows
        taken = list(shapes(count))
        given = [T.arg(each, T.handle(dtype) if in_c else T.Buffer(shape, dtype)) for each, shape, dtype in taken]
        with body():
            if in_c:
                given = [
                    T.decl_buffer(shape, dtype, data=data) for (_, shape, dtype), data in zip(taken, given, strict=True)
                ]
            buffers = dict(zip((each for each, *_ in taken), given, strict=True))
            emit(Call(count, buffers, (numbers[1], numbers[2]) if in_c else None))
    return builder.get()
