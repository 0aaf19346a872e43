"""Functions of whole registers of float32, without calls of a mathematical library.

    e^x = 2^n · e^r,    n = round(x / ln 2),  r = x − n ln 2 in two parts (Cody and Waite, 1980),  |r| ≤ ln 2 / 2

e^r is Taylor's polynomial of degree 7, off by 2e-8 of it at most; below −87 the result is 1.6e-38. NaN stays NaN.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.panel import splat, typed

__all__ = ["across", "exp", "fused"]

_LEAST, _MOST = -87.0, 88.0
_UPPER = 0.693359375  # ln 2 in few bits, so that n times it is exact
_LOWER = math.log(2) - _UPPER
_BIAS, _MANTISSA = 127, 23  # of float32's exponent


def exp(x: Any, lanes: int) -> Any:
    """e to the power of each lane."""
    x = T.bind(T.min(_all(_MOST, lanes), T.max(_all(_LEAST, lanes), x)))
    n = T.bind(T.nearbyint(x * _all(1 / math.log(2), lanes)))
    r = T.bind(fused(n, _all(-_LOWER, lanes), fused(n, _all(-_UPPER, lanes), x, lanes), lanes))
    terms = [_all(1 / math.factorial(power), lanes) for power in range(7, -1, -1)]
    power = functools.reduce(lambda total, term: fused(total, r, term, lanes), terms)
    exponent = T.Cast(f"int32x{lanes}", n) + splat(T.int32(_BIAS), lanes)
    return power * T.reinterpret(f"float32x{lanes}", T.shift_left(exponent, splat(T.int32(_MANTISSA), lanes)))


def fused(left: Any, right: Any, plus: Any, lanes: int) -> Any:
    """left · right + plus, rounded once."""
    name = f"llvm.fma.v{lanes}f32" if lanes > 1 else "llvm.fma.f32"
    return T.call_llvm_pure_intrin(typed("float32", lanes), name, left, right, plus)


def across(value: Any, lanes: int, both: Any) -> Any:
    """One number of all lanes (a power of two of them), by halves: `both` is what two make."""
    while lanes > 1:
        value, lanes = T.bind(value), lanes // 2
        low, high = ([tirx.IntImm("int32", start + lane) for lane in range(lanes)] for start in (0, lanes))
        value = both(tirx.Shuffle([value], low), tirx.Shuffle([value], high))
    return value


def _all(value: float, lanes: int) -> Any:
    return splat(T.float32(value), lanes)
