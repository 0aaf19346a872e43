"""The numbers of a call by its group: which law of `convolutions`, `products` or `movements` counts its work."""

from __future__ import annotations

from collections.abc import Callable

from compressor.devices.latency.laws import convolutions, movements, products
from compressor.devices.latency.laws.geometry import Convolution, Product, convolution_of, product_of
from compressor.devices.latency.laws.numbers import Context, Numbers
from compressor.graph.calls import Call

__all__ = ["numbers_of"]

_CONVOLUTIONS: dict[str, Callable[[Call, Convolution, Context], Numbers]] = {
    "conv blocked": convolutions.blocked,
    "conv image": convolutions.blocked,
    "depthwise blocked": convolutions.blocked,
    "conv": convolutions.unblocked,
    "depthwise": convolutions.depthwise,
    "conv int8": convolutions.integer,
    "depthwise int8": convolutions.integer,
}
_PRODUCTS: dict[str, Callable[[Call, Product, Context], Numbers]] = {
    "linear": products.linear,
    "gemv": products.vector,
    "linear int8": products.linear_integer,
    "gemv int8": products.linear_integer,
    "linear int4": products.linear_blocks,
    "gemv int4": products.linear_blocks,
    "linear int2": products.linear_blocks,
    "gemv int2": products.linear_blocks,
    "matmul": products.matmul,
    "matmul int8": products.matmul,
}
_OTHERS: dict[str, Callable[[Call, Context], Numbers]] = {
    "elementwise": movements.elementwise,
    "reduce": movements.elementwise,
    "norm": movements.norm,
    "softmax": movements.norm,
    "layout": movements.layout,
    "transpose": movements.layout,
    "join": movements.layout,
    "split": movements.layout,
    "quantize": movements.rounding,
    "dequantize": movements.rounding,
    "pool": movements.pool,
    "pool blocked": movements.pool,
    "global pool": movements.global_pool,
}
_INTEGER: dict[str, Callable[[Call, Context], Numbers]] = {
    "max pool int8": movements.max_pool_integer,
    "pool int8": movements.average_pool_integer,
    "join int8": movements.join_integer,
}


def numbers_of(call: Call, group: str, context: Context) -> Numbers:
    """What `call` is priced by in its group; its bytes and operations where its shapes are not what the law needs."""
    if group == "view":
        return Numbers({call.op: 2.0})
    if group in _CONVOLUTIONS and (conv := convolution_of(call)):
        return _CONVOLUTIONS[group](call, conv, context)
    if group in _PRODUCTS and (product := product_of(call)):
        return _PRODUCTS[group](call, product, context)
    if group in _INTEGER:
        return _INTEGER[group](call, context)
    plain = group.removesuffix(" int8")
    if plain == "attention" and len(call.operands) >= 2 and len(call.operands[0].shape) >= 2:
        return products.attention(call, context)
    if plain in _OTHERS:
        return _OTHERS[plain](call, context)
    return movements.other(call, context)
