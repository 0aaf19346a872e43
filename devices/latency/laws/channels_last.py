"""Which maps lie channels-last in memory, [N, H, W, C], and where they are turned: convolutions of bytes work so.

    conv2d of int8                             makes a channels-last map; any other input of it is turned first
    sums, joins, activations, roundings;       leave maps as they come, where all come so
    greatest and global pools of bytes
    all else                                   reads [N, C, H, W]: a channels-last map is turned back for it

What only rounds a value (quantize, dequantize) leaves it as it lies. A value is turned once for all its readers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from compressor.graph.calls import Call

__all__ = ["channels_last", "turns_of"]

_JOINS = frozenset({"cat", "concat"})
_POOLS = frozenset({"max_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"})
_ROUND = frozenset({"quantize", "dequantize"})


def channels_last(calls: Sequence[Call]) -> dict[str, bool]:
    """By the call's name, whether what it makes lies so."""
    found: dict[str, bool] = {}
    for call in calls:
        maps = [found.get(each.source, False) for each in call.inputs if math.prod(each.shape[2:]) > 1]
        found[call.name] = len(call.shape) == 4 and (_forces(call) or (_leaves(call) and bool(maps) and all(maps)))
    return found


def turns_of(calls: Sequence[Call]) -> dict[str, list[tuple[str, int]]]:
    """("in" or "out", elements) of the maps that are turned, by the call that they are turned for or made by."""
    lies, known = channels_last(calls), {call.name: call for call in calls}
    readers: dict[str, list[Call]] = defaultdict(list)
    turned: set[str] = set()
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for call in calls:
        for operand in call.inputs:
            readers[operand.source].append(call)
        first = call.inputs[0] if call.inputs else None
        if first is None or not _forces(call) or lies.get(first.source, False):
            continue
        value = _rounded(first.source, known)
        if value not in turned:
            turned.add(value)
            found[call.name].append(("in", first.bytes // 4))
    for call in calls:
        if lies[call.name] and call.kind not in _ROUND and _left(call, readers, lies):
            found[call.kernel or call.name].append(("out", call.elements))
    return dict(found)


def _left(call: Call, readers: Mapping[str, Sequence[Call]], lies: Mapping[str, bool]) -> bool:
    """Whether anything that reads it, rounded or not, needs it otherwise; results do."""
    listed = readers[call.name]
    return not listed or any(
        _left(reader, readers, lies) if reader.kind in _ROUND else not lies[reader.name] for reader in listed
    )


def _rounded(name: str, known: Mapping[str, Call]) -> str:
    """The value before it was rounded."""
    while name in known and known[name].kind in _ROUND and known[name].inputs:
        name = known[name].inputs[0].source
    return name


def _forces(call: Call) -> bool:
    return call.kind == "conv2d" and call.format == "int8"


def _leaves(call: Call) -> bool:
    if call.kind == "pool":
        return call.format == "int8" and call.op in _POOLS
    return call.kind in _ROUND or call.op in _JOINS or (call.kind == "elementwise" and call.op != "batch_norm")
