"""What convolutions are priced by: each kernel's own loops, counted.

    blocked     the steps of its inner loop (`steps.py`), 4 blocks of filters a pass; sums are read and written again
                for every block of channels (3 × 3), 128 of them (1 × 1), or every channel of an image
    unblocked   every patch written out (im2col), then a matrix product, one per group
    depthwise   a block of channels at a time where blocked; otherwise a patch matrix by one row for every channel
    int8        patches of bytes, a product of bytes, and each sum scaled and rounded

Georganas et al.: Anatomy of high-performance deep learning convolutions on SIMD architectures (2018).
"""

from __future__ import annotations

import math

from compressor.devices.latency.laws.geometry import Convolution
from compressor.devices.latency.laws.numbers import Context, Core, Numbers, capped, ceil_to, moved, past, share_cold
from compressor.devices.latency.laws.products import gemm, ragged
from compressor.devices.latency.laws.steps import Covered, covered, steps_of
from compressor.graph.calls import Call

__all__ = ["blocked", "depthwise", "integer", "unblocked"]

# A relu is part of the kernel's loop; other fused activations go over each row of the result once more.
_CLIPS = {"hardtanh", "clamp", "relu6", "leaky_relu", "clamp_min"}
_CURVES = {"sigmoid", "tanh", "hardswish", "hardsigmoid"}
_BYTES = 16  # channels of a vector of bytes
_SETS = 4  # blocks of filters that one pass over the input makes
_RATE = 40e3  # multiply–accumulates a microsecond, nominal


def blocked(call: Call, conv: Convolution, context: Context) -> Numbers:
    """Convolutions and depthwise ones in the blocked layout."""
    maps, rows, row = _rows(conv)
    count = _one_channel_each if conv.depthwise else _all_channels
    terms, depth = count(conv, context.core, maps, rows, row)
    lanes = context.core.lanes
    outputs = maps * rows * (row.inside + len(row.border)) * math.ceil(conv.filters / lanes) * lanes
    terms |= {"call": 2.5, "sums": outputs * depth / 12e3} | _traffic(call, context)
    return Numbers(terms, _features(call, conv, context.core) | _block_features(conv, lanes))


def _one_channel_each(
    conv: Convolution, core: Core, maps: int, rows: int, row: Covered
) -> tuple[dict[str, float], float]:  # fmt: skip
    """Terms of a depthwise one's taps, and how often its sums are read and written."""
    blocks = math.ceil(conv.filters / core.lanes)
    taps = maps * rows * blocks * core.lanes * conv.area
    single = len(row.border) + row.inside % 3
    return {
        "lanes": taps * (row.inside + len(row.border)) / 12e3, "single lanes": taps * single / 12e3,
        "rows": maps * rows * blocks / 30.0,
    }, 1.0  # fmt: skip


def _all_channels(
    conv: Convolution, core: Core, maps: int, rows: int, row: Covered
) -> tuple[dict[str, float], float]:  # fmt: skip
    """Terms of the steps over all channels of a group, and how often the sums are read and written."""
    lanes, image = core.lanes, conv.channels < core.lanes  # an image is added up channel by channel
    channels = conv.channels if image else ceil_to(conv.channels // conv.groups, lanes)
    per_group = max(1, math.ceil(conv.filters / lanes) // conv.groups)
    full, rest = divmod(per_group, _SETS)
    passes = [_SETS] * full + [rest] * (rest > 0)
    filters = 4 * conv.area * (1 if image else lanes) * min(per_group, _SETS) * lanes  # bytes of a pass
    steps = steps_of(row, conv.kernel[-1], passes, lanes, streamed=filters > core.caches[0])
    taps = maps * conv.groups * channels * _inside(conv)  # of the kernel's rows, over all rows of the map
    depth = float(conv.channels) if image else max(1.0, channels / (128 if conv.pointwise else lanes))
    turns = maps * rows * conv.groups * depth
    return {
        "macs": taps * steps.products * lanes / _RATE, "waits": taps * steps.waits * lanes / _RATE,
        "chunks": turns * steps.chunks / 60.0, "rows": turns * len(passes) / 30.0,
    }, depth  # fmt: skip


def _rows(conv: Convolution) -> tuple[int, int, Covered]:
    """Maps, the rows of one, and how the windows lie in a row; a pointwise one takes the whole map for one row."""
    if conv.pointwise:
        return conv.batch, 1, Covered(conv.pixels // conv.batch, ())
    row = covered(conv.input[-1], conv.row, conv.kernel[-1], conv.stride[-1], conv.dilation[-1])
    return conv.batch, math.prod(conv.output[:-1]), row


def _inside(conv: Convolution) -> int:
    """Rows of the kernel that lie inside the map, over all rows of the result."""
    if conv.pointwise:
        return 1
    column = covered(conv.input[0], conv.output[0], conv.kernel[0], conv.stride[0], conv.dilation[0])
    return column.inside * conv.kernel[0] + column.taps


def unblocked(call: Call, conv: Convolution, context: Context) -> Numbers:
    """A product of the patches, and the writing out of these where the map itself does not serve."""
    inner, filters = conv.channels // conv.groups * conv.area, conv.filters // conv.groups
    terms = {"call": 2.5, "groups": conv.groups / 3.0}
    patches = 0.0 if conv.pointwise else float(inner * conv.pixels * conv.groups)
    rows = 0.0 if conv.pointwise else inner * conv.groups * conv.batch * math.prod(conv.output[:-1])
    terms |= {"patches": patches / 2e3, "patch rows": rows / 60.0}
    terms |= {"strided patches": patches / 2e3 if max(conv.stride, default=1) > 1 else 0.0}
    terms |= gemm(
        filters, inner, conv.pixels // conv.batch, conv.groups * conv.batch, packed=False, lanes=context.core.lanes
    )
    terms |= _traffic(call, context)
    return Numbers(terms, _features(call, conv, context.core) | {"pointwise": float(conv.pointwise)})


def depthwise(call: Call, conv: Convolution, context: Context) -> Numbers:
    """Channel by channel, in the plain layout."""
    taps = float(conv.pixels * conv.filters * conv.area)
    strided = max(conv.stride, default=1) > 1
    rows = conv.batch * math.prod(conv.output[:-1]) * conv.filters
    terms = {
        "call": 2.5,
        "channels": conv.filters / 4.0,
        "taps": taps / 2.5e3,
        "strided": taps / 1e4 if strided else 0.0,
    }
    terms |= {"patch rows": rows * conv.area / 300.0, "pixels": conv.pixels * conv.filters / 5e3}
    terms |= _traffic(call, context)
    return Numbers(terms, _features(call, conv, context.core))


def integer(call: Call, conv: Convolution, context: Context) -> Numbers:
    """Products of bytes; `bytes` of the call are those of fp32, a fourth of it is what moves."""
    inner, filters = conv.channels // conv.groups * conv.area, conv.filters // conv.groups
    terms = {"call": 2.5, "groups": conv.groups / 3.0 if not conv.depthwise else 0.0}
    outputs = float(conv.pixels * conv.filters)
    taps = outputs * conv.area if conv.depthwise else float(conv.pixels * conv.channels * conv.area)
    if conv.depthwise:
        taps_of = conv.pixels * conv.area
        vectors, last = divmod(conv.filters, _BYTES)
        terms["vectors"] = taps_of * vectors / 800.0
        terms["half vectors"] = taps_of * (last >= _BYTES // 2) / 500.0
        terms["single lanes"] = taps_of * (last % (_BYTES // 2)) / 1e3
        terms["gathered"] = taps_of / 400.0
    else:
        padded = ceil_to(inner, 4) * ceil_to(filters, 16)
        terms["macs"] = conv.groups * conv.pixels * padded / 80e3
        terms |= ragged(conv.pixels * conv.groups, inner, filters)
        terms["rows of groups"] = conv.pixels * conv.groups / 40.0 if conv.groups > 1 else 0.0
        rest = conv.pixels % 4 * conv.groups
        terms["macs of single rows"] = rest * padded / 40e3
        terms["patches"] = 0.0 if conv.pointwise else taps / 8e3
        terms["pixels"] = conv.pixels / 100.0
        terms["gathered"] = 0.0 if conv.pointwise else conv.pixels * conv.area * conv.groups / 1e3  # copies, one a tap
    terms["rounded"] = outputs / 3e3
    terms |= moved("all", (call.read_bytes + call.bytes + call.weight_bytes) / 4, context.core)
    features = _features(call, conv, context.core)
    if conv.depthwise:  # its lanes are padded already: what is aligned must not come out cheaper than what is smaller
        features = {name: value for name, value in features.items() if " by " not in name}
    return Numbers(terms, features)


def _traffic(call: Call, context: Context) -> dict[str, float]:
    terms = {"read bytes": call.read_bytes / 80e3, "written bytes": call.bytes / 80e3}
    terms |= moved("map", call.read_bytes + call.bytes, context.core) | moved("weight", call.weight_bytes, context.core)
    terms["far weight"] = call.weight_bytes * share_cold(context.network_bytes, context.core.caches[1]) / 50e3
    terms["cold weight"] = call.weight_bytes * share_cold(context.network_weight_bytes, context.core.kept) / 15e3
    outputs, fused = float(call.elements), set(call.fellows) if call.main else set()
    residual = call.bytes if "add" in call.fellows and call.main else 0
    terms |= {"clipped": outputs / 6e3 if _CLIPS & fused else 0.0, "curved": outputs / 2e3 if _CURVES & fused else 0.0}
    return terms | {"residual": residual / 20e3}


def _features(call: Call, conv: Convolution, core: Core) -> dict[str, float]:
    channels, filters = conv.channels // conv.groups, conv.filters // conv.groups
    found = {
        "channels": capped(channels, 128), "filters": capped(filters, 128), "pixels": capped(conv.pixels, 784),
        "row": capped(conv.row, 56), "groups": capped(conv.groups, 64), "area": capped(conv.area, 49),
        "stride": float(max(conv.stride, default=1)), "added": float("add" in call.fellows),
        "activated": float(len(call.fellows) > ("add" in call.fellows)),
    }  # fmt: skip
    for multiple in (4, 8, 16):
        found[f"channels by {multiple}"] = float(conv.channels % multiple == 0)
        found[f"filters by {multiple}"] = float(conv.filters % multiple == 0)
    total = call.read_bytes + call.bytes + call.weight_bytes
    return found | {
        "bytes past L2": past(total, core.caches[1]),
        "weight past L2": past(call.weight_bytes, core.caches[1]),
    }


def _block_features(conv: Convolution, block: int) -> dict[str, float]:
    blocks = math.ceil(conv.filters / block)
    return {"last blocks": float((blocks - 1) % _SETS), "row by 3": float(conv.row % 3), "row by 6": conv.row % 6 / 6}
