"""GELU in TVM without calls of a mathematical library, so that its loop runs in vectors; ELU with all that it takes;
bounds that keep what is no number.

    gelu(x) = x · Φ(x) = x/2 · (1 + erf(x/√2)),    erf(z) ≈ z · P(z²) / Q(z²) for |z| < 3.95, off by 4e-7 at most
    gelu(x) ≈ x / (1 + e^(−2u)),    u = √(2/π) · (x + 0.044715 x³)        where it is asked for (Hendrycks and Gimpel,
                                                                         2016, arXiv:1606.08415)
    elu(x) = s · x for x > 0,  s · a · (e^(i·x) − 1) else     SELU is one, whose s TVM's importer leaves out
    relu, clamp:  min(high, max(low, x))     the second where one is no number: x, where TVM's own give the bound

P and Q were fitted to scipy's erf by reweighted least squares (Lawson's method). TVM's own erf is libm's, one number
after the other: more time than all products of a small language model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx
from tvm import te, tirx

from compressor.export.kernels.module import sized
from compressor.graph.edit import argument

__all__ = ["ACTIVATIONS"]

_P = (1.12837901, 0.194031684, 0.0532063931, 0.00391709397, 0.000287586821, 2.01166772e-06)
_Q = (1.0, 0.505287595, 0.115588966, 0.0152702806, 0.001198129, 3.78381918e-05)
_FAR = 3.95  # where erf is 1 − 2.3e-8
_GONE = -5.5  # where gelu is −1e-7, and further down what erf is off by would be multiplied up
_CUBE, _SLOPE = 0.044715, 2 * math.sqrt(2 / math.pi)


def gelu(node: fx.Node, importer: Any) -> Any:
    """Of float32 in loops of our own; of other floats as TVM has it."""
    [x, *_] = node.args
    data = sized(importer.block_builder, importer.env[x], x.meta["val"].shape)  # type: ignore[union-attr]
    if data.ty.dtype != "float32":
        return importer._gelu(node)
    one = _by_tanh if argument(node, "approximate") == "tanh" else _by_erf

    def loop(x: Any) -> Any:
        return te.compute(x.shape, lambda *place: one(x(*place)), name="gelu")

    return importer.block_builder.emit_te(loop, data, primfunc_name_hint="gelu")


def elu(node: fx.Node, importer: Any) -> Any:
    """Of any floats."""
    [x, *_] = node.args
    data = sized(importer.block_builder, importer.env[x], x.meta["val"].shape)  # type: ignore[union-attr]
    low, scale, inner = (tirx.const(float(argument(node, n)), data.ty.dtype) for n in ("alpha", "scale", "input_scale"))

    def loop(x: Any) -> Any:
        def one(*place: Any) -> Any:
            value = x(*place)
            return tirx.Select(value > 0, scale * value, scale * low * (tirx.exp(inner * value) - 1))

        return te.compute(x.shape, one, name="elu")

    return importer.block_builder.emit_te(loop, data, primfunc_name_hint="elu")


def relu(node: fx.Node, importer: Any) -> Any:
    """max(0, x)."""
    return _bounded(node, importer, 0.0, None)


def clamp(node: fx.Node, importer: Any) -> Any:
    """Between `min` and `max`, of which one may be missing."""
    return _bounded(node, importer, argument(node, "min"), argument(node, "max"))


def hardtanh(node: fx.Node, importer: Any) -> Any:
    """Between `min_val` and `max_val`."""
    return _bounded(node, importer, argument(node, "min_val"), argument(node, "max_val"))


def _bounded(node: fx.Node, importer: Any, low: object, high: object) -> Any:
    """Of floats by numbers; of whole numbers, which are always some, and by computed sizes as TVM has it."""
    [x, *_] = node.args
    if not x.meta["val"].is_floating_point() or fx.Node in (type(low), type(high)):  # type: ignore[union-attr]
        return importer.create_convert_map()[node.target.__name__](node)  # type: ignore[union-attr]
    data = sized(importer.block_builder, importer.env[x], x.meta["val"].shape)  # type: ignore[union-attr]
    least, most = (None if each is None else tirx.const(float(each), data.ty.dtype) for each in (low, high))  # type: ignore[arg-type]

    def one(value: Any) -> Any:
        value = value if least is None else tirx.max(least, value)
        return value if most is None else tirx.min(most, value)

    def loop(x: Any) -> Any:
        return te.compute(x.shape, lambda *place: one(x(*place)), name="bounded")

    return importer.block_builder.emit_te(loop, data, primfunc_name_hint="bounded")


ACTIVATIONS: Mapping[str, Callable[[fx.Node, Any], Any]] = {
    "gelu.default": gelu, "elu.default": elu, "relu.default": relu, "clamp.default": clamp, "hardtanh.default": hardtanh
}  # fmt: skip


def _by_erf(x: Any) -> Any:
    z = x * _number(math.sqrt(0.5))
    z = tirx.max(tirx.min(z, _number(_FAR)), _number(-_FAR))
    square = z * z
    result = x * _number(0.5) * (_number(1) + z * _polynomial(_P, square) / _polynomial(_Q, square))
    return tirx.Select(x < _number(_GONE), _number(0), result)


def _by_tanh(x: Any) -> Any:
    return x / (_number(1) + tirx.exp(-_number(_SLOPE) * (x + _number(_CUBE) * x * x * x)))


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """By Horner's rule, the constant first."""
    return functools.reduce(
        lambda total, c: total * x + _number(c), reversed(coefficients[:-1]), _number(coefficients[-1])
    )


def _number(value: float) -> Any:
    return tirx.const(value, "float32")
