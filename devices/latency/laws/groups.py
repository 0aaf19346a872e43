"""The group that a call is priced in: the kernels of one law.

conv2d     blocked | image (fewer channels than a block) | unblocked | depthwise of both | int8 of each
linear     by the format of its weights, and apart for one row (a matrix–vector product, bound by memory)
others     by kind, int8 apart; layout changes by what they do; "view" moves no data
"""

from __future__ import annotations

from compressor.devices.latency.laws.geometry import convolution_of, pool_kernel, product_of
from compressor.graph.calls import Call

__all__ = ["group_of"]

_QUANTIZE = "compressor::quantize"
_LAYOUTS = {
    "transpose": {"permute", "transpose", "swapaxes", "swapdims", "t"},
    "join": {"cat", "concat", "stack"},
    "split": {"chunk", "split", "split_with_sizes", "tensor_split", "unbind"},
}
_OWN = {
    "norm", "softmax", "attention", "matmul", "embedding", "gather", "resize", "conv_transpose", "recurrent",
    "quantize", "dequantize", "elementwise", "reduce",
}  # fmt: skip


def group_of(call: Call, blocked: bool, lanes: int = 8) -> str:
    """`blocked` says whether the runtime has its map in the blocked layout, of `lanes` channels a block."""
    if not call.kernel and call.kind != "dequantize":
        return "view"
    integer = call.format == "int8"
    if call.kind in ("conv1d", "conv2d", "conv3d"):
        return _convolution(call, blocked, integer, lanes)
    if call.kind == "linear":
        product = product_of(call)
        one = product is not None and product.rows == 1
        blocks = call.format if call.format in ("int4", "int2") else "int8" if integer else ""
        return " ".join(filter(None, ("gemv" if one else "linear", blocks)))
    if call.kind == "pool":
        result = call.shape[2:]
        if max(result, default=1) == 1 and pool_kernel(call) > 1:
            return "global pool int8" if integer else "global pool"
        if "max" in call.op and (integer or call.readers == (_QUANTIZE,)):
            return "max pool int8"  # the greatest of rounded numbers is the rounded greatest: it is rounded first
        return "pool int8" if integer else "pool blocked" if blocked else "pool"
    if call.kind == "layout":
        name = next((name for name, ops in _LAYOUTS.items() if call.op in ops), "layout")
        return "join int8" if integer and name == "join" else name
    if call.kind in _OWN:
        return f"{call.kind} int8" if integer else call.kind
    return "other"


def _convolution(call: Call, blocked: bool, integer: bool, lanes: int) -> str:
    conv = convolution_of(call)
    if conv is None or call.kind != "conv2d":
        return "conv int8" if integer else "conv"
    if conv.depthwise:
        return "depthwise int8" if integer else "depthwise blocked" if blocked else "depthwise"
    if integer:
        return "conv int8"
    if not blocked:
        return "conv"
    return "conv image" if conv.channels < lanes else "conv blocked"  # an image is read as it is
