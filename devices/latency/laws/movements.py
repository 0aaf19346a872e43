"""What calls without matrix products are priced by: elements by how dear each is, bytes, and runs of contiguous memory.

elementwise   elements × (plain | division or root | exponential | error function) + bytes
pool          elements of the result × the kernel's area
layout        bytes written + runs: what stays contiguous is copied at once, the rest element by element
"""

from __future__ import annotations

import math

from compressor.devices.latency.laws.geometry import argument, pool_kernel
from compressor.devices.latency.laws.numbers import Context, Numbers, capped, ceil_to, moved, past
from compressor.graph.calls import Call

__all__ = [
    "average_pool_integer",
    "elementwise",
    "global_pool",
    "join_integer",
    "layout",
    "max_pool_integer",
    "norm",
    "other",
    "pool",
    "rounding",
]

_EXPONENTIAL = {"sigmoid", "tanh", "exp", "softplus", "elu", "mish", "log", "sin", "cos"}
_ERROR_FUNCTION = {"gelu", "erf"}
_DIVISION = {"div", "sqrt", "rsqrt", "pow", "reciprocal", "true_divide"}
_TOLD = (
    "add", "mul", "batch_norm", "relu", "leaky_relu", "hardtanh", "clamp", "sigmoid", "silu", "gelu", "tanh",
    "hardswish", "hardsigmoid", "pow", "rsqrt", "mean", "neg", "sin", "cat", "transpose", "permute", "slice", "select",
    "chunk", "unbind", "roll", "repeat_interleave", "layer_norm", "group_norm", "lstm", "gru",
)  # fmt: skip
_COMPARES = {"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "where"}
_SPLITS = frozenset({"chunk", "split", "split_with_sizes", "tensor_split"})
_JOINS = frozenset({"cat", "concat"})
_TRANSPOSES = frozenset({"permute", "transpose", "swapaxes", "swapdims", "t"})


def elementwise(call: Call, context: Context) -> Numbers:
    elements = float(max(call.elements, call.read_bytes // 4 if call.kind == "reduce" else 0))
    dear = call.op in _EXPONENTIAL or (call.op == "gelu" and "tanh" in call.arguments)
    terms = {"call": 2.5, "elements": elements / 8e3}
    terms["exponentials"] = elements / 1.5e3 if dear else 0.0
    apart = call.op == "silu" and context.rounded  # then it is no kernel of its own
    terms["gated by themselves"] = elements / 6e3 if call.op == "silu" and not apart else 0.0
    terms["gated in two"] = elements / 3e3 if apart else 0.0
    terms["dequantized"] = elements / 6e3 if context.rounded else 0.0
    terms["error functions"] = elements / 1.5e3 if call.op in _ERROR_FUNCTION and not dear else 0.0
    terms["divisions"] = elements / 3e3 if call.op in _DIVISION else 0.0
    terms["normalized"] = elements / 3e3 if call.op == "batch_norm" else 0.0
    terms["powers"] = elements / 1e3 if call.op == "pow" else 0.0
    terms["compared"] = elements / 2e3 if call.op in _COMPARES else 0.0
    spread = any(operand.shape != call.shape for operand in call.operands)
    two = len(call.inputs) > 1
    terms["spread"] = elements / 8e3 if spread and len(call.operands) > 1 else 0.0
    last = call.shape[-1] if call.shape else 1
    terms["short runs"] = elements / max(last, 1) / 100.0 if spread and len(call.operands) > 1 else 0.0
    terms |= moved("all", call.read_bytes + call.bytes, context.core)
    features = _told(call) | {"spread": float(spread), "two": float(two), "blocked": float(context.blocked)}
    return Numbers(terms, features | {"last": capped(last, 256), "rank": float(len(call.shape))} | _size(call, context))


def norm(call: Call, context: Context) -> Numbers:
    """Norms and softmax, over the last dimension or the channels; what is added before may be fused into it."""
    elements = float(call.elements)
    rows = elements / max(call.shape[-1] if call.shape else 1, 1)
    exponentials = elements / 1.5e3 if call.kind == "softmax" else 0.0
    terms = {"call": 2.5, "elements": elements / 4e3, "rows": rows / 30.0, "exponentials": exponentials}
    terms |= moved("all", call.read_bytes + call.bytes, context.core)
    fused = context.summed and len(call.shape) == 3 and call.op == "layer_norm"
    terms["fused sums"] = elements / 400.0 if fused else 0.0
    features = _told(call) | {"last": capped(call.shape[-1] if call.shape else 1, 256), "fused": float(fused)}
    return Numbers(terms, features | _size(call, context))


def pool(call: Call, context: Context) -> Numbers:
    area, elements = pool_kernel(call), float(call.elements)
    if context.blocked and len(call.shape) > 1:
        elements *= ceil_to(call.shape[1], 8) / max(call.shape[1], 1)
    taps = elements * area
    largest = float("max" in call.op)
    last = call.shape[-1] if call.shape else 1
    rate = 6e3 if context.blocked else 400.0  # in the plain layout an average is summed up one by one
    terms = {"call": 2.5, "averaged": (1 - largest) * taps / rate, "greatest": largest * taps / max(rate, 2e3)}
    terms["elements"] = elements / 4e3
    terms |= {"rows": elements / max(last, 1) / 100.0} | moved("all", call.read_bytes + call.bytes, context.core)
    features = {"area": capped(area, 49), "max": largest, "last": capped(last, 56)}
    features["channels by 8"] = float(len(call.shape) > 1 and call.shape[1] % 8 == 0)
    features["channels by 16"] = float(len(call.shape) > 1 and call.shape[1] % 16 == 0)
    return Numbers(terms, features | _size(call, context))


def global_pool(call: Call, context: Context) -> Numbers:
    """Every map summed up, vectors at a time in any layout."""
    read = call.inputs[0].bytes / 4.0 if call.inputs else float(call.elements)
    terms = {"call": 2.5, "summed": read / 4e3, "maps": call.elements / 100.0} | moved(
        "all", call.read_bytes, context.core
    )
    return Numbers(terms, {"blocked": float(context.blocked)} | _size(call, context))


def max_pool_integer(call: Call, context: Context) -> Numbers:
    """Of bytes: vectors of channels where these lie next to each other, else one by one."""
    taps = float(call.elements) * pool_kernel(call)
    vectors = context.channels_last
    terms = {"call": 2.5, "taps": 0.0 if vectors else taps / 280.0, "lanes": taps / 2e4 if vectors else 0.0}
    terms["elements"] = call.elements / 4e3
    return Numbers(terms, {"vectors": float(vectors), "area": capped(pool_kernel(call), 49)} | _size(call, context))


def average_pool_integer(call: Call, context: Context) -> Numbers:
    """Of bytes, each output summed up and scaled by itself."""
    taps = float(call.elements) * pool_kernel(call)
    terms = {"call": 2.5, "outputs": call.elements / 70.0, "taps": taps / 800.0}
    return Numbers(terms | moved("all", (call.read_bytes + call.bytes) / 4, context.core), _size(call, context))


def join_integer(call: Call, context: Context) -> Numbers:
    """Of bytes, each input looked up in a table of its own scale."""
    run = call.shape[1] if context.channels_last and len(call.shape) == 4 else contiguous(call)
    terms = {"call": 2.5, "parts": len(call.inputs) / 3.0, "elements": call.elements / 2e3}
    terms["runs"] = call.elements / max(run, 1) * len(call.inputs) / 60.0
    return Numbers(
        terms | moved("all", call.bytes / 2.0, context.core), {"run": capped(run, 256)} | _size(call, context)
    )


def layout(call: Call, context: Context) -> Numbers:
    run = contiguous(call)
    elements = float(call.elements)
    parts = max(len(call.shapes), len(call.inputs) if call.op in ("cat", "stack") else 1)
    shuffled = call.op in _TRANSPOSES
    terms = {"call": 2.5, "parts": parts / 3.0, "runs": elements / run / 60.0 if run > 1 else 0.0}
    terms["single elements"] = elements / 1e3 if run <= 1 else 0.0
    terms["short runs"] = elements / 2e3 if 1 < run < 32 else 0.0
    terms["rolled"] = elements / 4e3 if call.op == "roll" else 0.0
    terms |= moved("all", 2.0 * call.bytes, context.core)
    features = _told(call) | {"run": capped(run, 256), "shuffled": float(shuffled), "parts": capped(parts, 8)}
    features |= {"rank": float(len(call.shape)), "blocked": float(context.blocked)}
    return Numbers(terms, features | _size(call, context))


def rounding(call: Call, context: Context) -> Numbers:
    """Quantize and dequantize."""
    elements = float(call.elements)
    terms = {"call": 2.5, "elements": elements / 6e3} | moved("all", call.read_bytes + call.bytes, context.core)
    last = capped(call.shape[-1] if call.shape else 1, 256)
    return Numbers(terms, {"rank": float(len(call.shape)), "last": last} | _size(call, context))


def other(call: Call, context: Context) -> Numbers:
    """What no law is known for: its multiply–accumulates, its bytes."""
    terms = {"call": 2.5, "macs": call.macs / 20e3, "elements": call.elements / 4e3}
    read = call.bytes if call.kind in ("embedding", "gather") else call.read_bytes + call.weight_bytes
    terms |= moved("all", read + call.bytes, context.core)
    steps = call.operands[0].shape[1] if call.kind == "recurrent" and len(call.operands[0].shape) > 1 else 0
    terms["steps"] = float(steps)
    return Numbers(terms, _told(call) | _size(call, context))


def contiguous(call: Call) -> int:
    """Elements that a copy moves at once."""
    if not call.shape or not call.inputs:
        return max(1, call.elements)
    source, result = call.inputs[0].shape, call.shape
    if call.op in _TRANSPOSES and source:
        return _kept(source, _order(call, len(source)))
    axis = argument(call, 2 if call.op in _SPLITS else 1)
    axis = axis if isinstance(axis, int) and not isinstance(axis, bool) else 0
    if call.op == "roll" or not -len(result) <= axis < len(result):
        return math.prod(result[2:]) or 1
    whole = source if call.op in _JOINS and len(source) == len(result) else result
    return max(1, math.prod(whole[axis % len(result) :]))


def _order(call: Call, rank: int) -> list[int]:
    """The dimensions of the source in the order of the result's."""
    order, one, other = list(range(rank)), argument(call, 1), argument(call, 2)
    if call.op == "permute":
        return [d % rank for d in one] if isinstance(one, tuple) and len(one) == rank else order
    a, b = (d % rank if isinstance(d, int) else rank - 2 + i for i, d in enumerate((one, other)))
    order[a], order[b] = order[b], order[a]
    return order


def _kept(source: tuple[int, ...], order: list[int]) -> int:
    run = 1
    for place in range(len(source) - 1, -1, -1):
        if order[place] != place:
            break
        run *= source[place]
    return max(1, run)


def _told(call: Call) -> dict[str, float]:
    return {f"is {op}": float(call.op == op) for op in _TOLD if call.op == op}


def _size(call: Call, context: Context) -> dict[str, float]:
    total = call.read_bytes + call.bytes
    return {"elements": capped(call.elements, 3e4), "bytes past L2": past(total, context.core.caches[1])}
