"""What matrix products are priced by: linear layers, products of activations, attention.

    gemm      [M, K] by [K, N]: 6 rows by two vectors of columns at a time (12 where vectors hold 16), the last rows
              6, 3 or 1 at a time;
              the second matrix is copied into panels first, unless it was when the model was loaded
    gemv      one row: every weight is read once, and where it lies decides
    blocks    weights of few bits: unpacked, then multiplied
    attention heads × (M·S·D products, M·S exponentials, M·D·S products), a mask added

Goto, van de Geijn: Anatomy of high-performance matrix multiplication (2008).
"""

from __future__ import annotations

import math

from compressor.devices.latency.laws.geometry import Product, argument
from compressor.devices.latency.laws.numbers import Context, Core, Numbers, capped, ceil_to, moved, past, share_cold
from compressor.graph.calls import Call

__all__ = ["attention", "gemm", "linear", "linear_blocks", "linear_integer", "matmul", "ragged", "vector"]

_RATE = 50e3  # multiply–accumulates a microsecond, nominal


def gemm(
    rows: int, inner: int, columns: int, batch: int = 1, *, packed: bool, name: str = "", lanes: int = 8
) -> dict[str, float]:  # fmt: skip
    """Terms of a product in single precision; `packed`: the second matrix was laid out beforehand."""
    most = 12 if lanes >= 16 else 6
    full, rest = divmod(rows, most)
    sixes, rest = divmod(rest, 6)
    threes, ones = divmod(rest, 3)
    width = ceil_to(columns, 2 * lanes)
    panel = batch * width * inner / _RATE
    terms = {
        "macs of most rows": panel * full * most,
        "macs of 6 rows": panel * sixes * 6,
        "macs of 3 rows": panel * threes * 3,
        "macs of 1 row": panel * ones,
        "sums": batch * rows * width * math.ceil(inner / 256) / 10e3,
        "products": batch / 2.0,
    }
    if not packed:
        terms["panels"] = batch * columns * inner / 4e3
    return {f"{name}{key}": value for key, value in terms.items()}


def linear(call: Call, product: Product, context: Context) -> Numbers:
    """A linear layer in single precision, of several rows."""
    core = context.core
    weight = 4.0 * product.inner * product.columns
    terms = {"call": 2.5} | moved("weight", weight, core) | moved("activation", call.read_bytes + call.bytes, core)
    terms["cold weight"] = weight * share_cold(context.network_weight_bytes, core.kept) / 15e3
    terms |= _far(weight, context)
    added = len(call.weights) > 1 and "gelu" not in call.readers  # GELU kernels add the bias themselves
    terms["bias"] = product.rows * product.columns / 5e3 if added else 0.0
    terms |= gemm(product.rows, product.inner, product.columns, packed=True, lanes=core.lanes)
    features = _features(product, weight, core) | {
        "flat": float(call.op == "addmm"),
        "biased": float(len(call.weights) > 1),
    }
    features["network past L3"] = capped(context.network_weight_bytes / core.kept, 8)
    return Numbers(terms, features)


def vector(call: Call, product: Product, context: Context) -> Numbers:
    """A linear layer of one row in single precision: its weights are read, and little else."""
    core = context.core
    weight = 4.0 * product.inner * product.columns
    terms = {"call": 2.5, "cold call": _cold_call(context), "columns": product.columns / 200.0, "weight": weight / 25e3}
    terms |= _evicted(weight, context)
    terms["weight past L2"] = max(0.0, weight - core.caches[1]) / 50e3
    terms["cold weight"] = weight * share_cold(context.network_bytes, core.kept) / 50e3
    return Numbers(terms, _features(product, weight, core) | {"biased": float(len(call.weights) > 1)})


def linear_integer(call: Call, product: Product, context: Context) -> Numbers:
    """Bytes times bytes; the input is rounded to bytes where it is not yet."""
    core = context.core
    weight = float(product.inner * product.columns)
    padded = ceil_to(product.inner, 4) * ceil_to(product.columns, 16)
    outputs = product.rows * product.columns
    if product.rows == 1:
        terms = {"call": 2.5, "columns": outputs / 100.0, "cold call": _cold_call(context)} | _evicted(weight, context)
    else:
        terms = {"call": 2.5, "macs": product.rows * padded / 150e3, "rounded": outputs / 3e3}
        terms |= {"macs of last rows": product.rows % 4 * padded / 80e3, "panels": product.rows * product.inner / 8e3}
    terms |= moved("weight", weight, core) | moved("activation", (call.read_bytes + call.bytes) / 2, core)
    if product.rows > 1:
        terms |= _far(weight, context)
        terms |= ragged(product.rows, product.inner, product.columns)
        terms["cold weight"] = weight * share_cold(context.network_weight_bytes / 4, core.kept) / 15e3
    return Numbers(terms, _features(product, weight, core) | {"flat": float(call.op == "addmm")})


def ragged(rows: int, inner: int, columns: int) -> dict[str, float]:
    """Terms of a product of bytes whose sizes are no multiples: the last bytes of each row are copied one by one, and
    so are sums that fill no vector."""
    terms = {"last bytes": rows / 80.0 if inner % 4 else 0.0, "last columns": rows / 400.0 if columns % 16 else 0.0}
    return terms | {"single columns": rows * (columns % 4) / 400.0}


def linear_blocks(call: Call, product: Product, context: Context) -> Numbers:
    """Weights of 4 or 2 bits in blocks, `arguments` (…, bits, block, inner, whether the input is rounded, too)."""
    core = context.core
    bits, block = _number(argument(call, 4), 4), _number(argument(call, 5), 32)
    integer = bool(argument(call, 7))
    inner = ceil_to(product.inner, max(block, 1))
    weights = float(inner * product.columns)
    work = product.rows * weights
    if product.rows == 1:  # straight from the packed weights
        terms = {"call": 2.5, "macs": work / 12e3, "blocks": work / max(block, 1) / 2e3}
    else:
        terms = {"call": 2.5, "unpacked": weights / 4e3, "macs": work / _RATE, "blocks": work / max(block, 1) / 2e3}
    terms |= {"rounded": product.rows * product.inner / 4e3, "sums": product.rows * product.columns / 3e3}
    terms |= _far(float(call.weight_bytes), context)
    terms |= moved("weight", float(call.weight_bytes), core) | moved("activation", call.read_bytes + call.bytes, core)
    features = _features(product, float(call.weight_bytes), core) | {
        "block": capped(block, 256),
        "integer": float(integer),
    }
    return Numbers(terms, features | {"bits": float(bits)})


def matmul(call: Call, product: Product, context: Context) -> Numbers:
    """Two activations."""
    core = context.core
    packed = len(call.inputs) < 2
    sizes = product.rows, product.inner, product.columns, product.batch
    terms = {"call": 2.5} | gemm(*sizes, packed=packed, lanes=core.lanes)
    terms |= moved("all", call.read_bytes + call.bytes, core)
    return Numbers(terms, _features(product, 0.0, core) | {"batch": capped(product.batch, 64)})


def attention(call: Call, context: Context) -> Numbers:
    """softmax(Q Kᵀ · scale + mask) V."""
    core = context.core
    query, key = call.operands[0].shape, call.operands[1].shape
    heads, rows, size, length = math.prod(query[:-2]), query[-2], query[-1], key[-2]
    value = call.operands[2].shape[-1] if len(call.operands) > 2 else size
    masked, causal = len(call.operands) > 3, bool(argument(call, 5, "is_causal"))
    scores = heads * rows * length
    terms = {"call": 15.0, "scores": scores / 1e3, "masked": scores / 2e3 if masked or causal else 0.0}
    terms |= {"mask": rows * length / 1e3 if masked or causal else 0.0}
    terms |= {"nodes of causal": 40.0 if causal else 0.0, "nodes of mask": 20.0 if masked else 0.0}
    terms |= gemm(rows, size, length, heads, packed=False, name="query ", lanes=core.lanes)
    terms |= gemm(rows, length, value, heads, packed=False, name="value ", lanes=core.lanes)
    terms |= moved("all", call.read_bytes + call.bytes, core) | {"copied": (call.read_bytes + call.bytes) / 8e3}
    terms |= moved("scores", 4.0 * scores, core)
    features = {"heads": capped(heads, 16), "rows": capped(rows, 256), "size": capped(size, 128)}
    return Numbers(terms, features | {"masked": float(masked), "causal": float(causal)})


def _far(weight: float, context: Context) -> dict[str, float]:
    """Weights that the rest of the network has driven out of the middle cache since the last inference."""
    return {"far weight": weight * share_cold(context.network_bytes, context.core.caches[1]) / 30e3}


def _evicted(weight: float, context: Context) -> dict[str, float]:
    """Weights that the rest of the network has driven out of caches of several sizes since the last inference."""
    sizes = {"4 MB": 4e6, "16 MB": 16e6, "64 MB": 64e6}
    return {f"out of {name}": weight * share_cold(context.network_bytes, size) / 40e3 for name, size in sizes.items()}


def _cold_call(context: Context) -> float:
    """Of a small product: in a network larger than the near caches it finds its code and its data gone from them."""
    return 2.5 * share_cold(context.network_bytes, 4e6)


def _features(product: Product, weight_bytes: float, core: Core) -> dict[str, float]:
    return {
        "rows": capped(product.rows, 128), "inner": capped(product.inner, 512), "columns": capped(product.columns, 256),
        "weight past L2": past(weight_bytes, core.caches[1]), "columns by 16": float(product.columns % 16 == 0),
        "inner by 4": float(product.inner % 4 == 0), "inner by 16": float(product.inner % 16 == 0),
        "rows by 6": product.rows % 6 / 6, "past panel": ceil_to(product.columns, 16) / max(product.columns, 1),
    }  # fmt: skip


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
