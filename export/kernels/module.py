"""What calls of kernels in a relax module have in common: functions that are shared, constants, numbers of rows."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from torch import Tensor
from tvm import relax, tirx

from compressor.export.kernels.epilogue import PLAIN, Ending

__all__ = ["NOTHING", "End", "add_function", "constant", "count", "evaluated", "is_kernel", "known", "likely", "sized"]

_SOME = 16  # rows, where nothing is known of their number
_KERNEL = "own_kernel"  # an attribute of functions that have their schedule: tuning leaves them alone


@dataclass(frozen=True)
class End:
    """What follows a product, and the relax variable (as large as the result) that is added, where one is."""

    residual: Any | None = None
    ending: Ending = PLAIN

    def given(self, builder: Any, shape: tuple[Any, Any]) -> list[Any]:
        """What kernels are given: the residual as (rows, channels)."""
        return [] if self.residual is None else [builder.emit(relax.op.reshape(self.residual, shape))]


NOTHING = End()


def add_function(builder: Any, function: Any, name: str) -> Any:
    """In the module, under a name of its own: where the same function is there already, as that one."""
    return builder.add_func(function.without_attr("global_symbol").with_attr(_KERNEL, True), name)


def is_kernel(function: Any) -> bool:
    """Whether it is one of ours, which `add_function` has put there."""
    return _KERNEL in dict(function.attrs or {})


def constant(tensor: Tensor) -> Any:
    """A tensor that lies in the library."""
    return relax.const(tensor.detach().contiguous().numpy())


def count(sizes: Sequence[Any]) -> Any:
    """How many rows leading dimensions make together, as TVM counts."""
    return functools.reduce(operator.mul, sizes, tirx.IntImm("int64", 1))


def sized(builder: Any, data: Any, sizes: Sequence[Any]) -> Any:
    """A relax variable whose shape is told: where TVM lost it, by `sizes`, of which those that are no numbers get names
    and are read when it runs."""
    if isinstance(data.ty.shape, relax.ShapeExpr):
        return data
    named = [s if isinstance(s, int) else tirx.Var(f"size_{i}", "int64") for i, s in enumerate(sizes)]
    return builder.match_cast(data, relax.TensorType(named, data.ty.dtype))


def known(size: Any) -> int | None:
    """The number, where it is known when it is compiled."""
    return int(size) if isinstance(size, int | tirx.IntImm) else None


def likely(size: Any) -> int:
    """The number to reckon with: where something is open, what there is of one sample, some rows at least."""
    if (number := known(size)) is not None:
        return number
    return max(evaluated(size, [(each, 1) for each in tirx.analysis.undefined_vars(size)]) or 0, _SOME)


def evaluated(size: Any, values: Iterable[tuple[Any, int | None]]) -> int | None:
    """The number that a size is for these values of variables; None where it is none."""
    analyzer = tvm.sym.Analyzer()
    for variable, value in values:
        analyzer.bind(variable, tirx.const(value, "int64"))
    return known(analyzer.simplify(size))
