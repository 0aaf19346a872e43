"""What networks that were timed say about single calls: the samples that laws are fitted to.

time of a call = Σ of the nodes that do it, less what the profiler adds     (`attribution.py`, `overhead.py`)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from compressor.devices.latency.attribution import NodeTime, by_call
from compressor.devices.latency.laws.context import contexts_of
from compressor.devices.latency.laws.describe import numbers_of
from compressor.devices.latency.laws.groups import group_of
from compressor.devices.latency.laws.numbers import Numbers
from compressor.devices.latency.laws.reorders import reorders_of, together
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.overhead import without_profiler
from compressor.graph.calls import Call

__all__ = ["Sample", "Timed", "copies", "samples_of", "timed"]

_BLOCKED = "nchwc."
_TURNED = frozenset({"conv2d", "pool", "quantize", "dequantize", "elementwise"})


@dataclass(frozen=True)
class Sample:
    """One call that took time. `share` is that of its network's."""

    network: str
    numbers: Numbers
    microseconds: float
    share: float


@dataclass(frozen=True)
class Timed:
    """A network with the microseconds of each call and of the copies between layouts, and which convolutions ran
    blocked."""

    network: Measured
    times: dict[str, float]
    reorders: float
    convolutions: tuple[tuple[Call, bool], ...]


def timed(network: Measured) -> Timed:
    """The network's times by call; what belongs to none is left out."""
    nodes = without_profiler(network.nodes, network.microseconds)
    known = {call.name: call for call in network.calls}
    copied = [node for node in nodes if node.reorders or _turns(node, known.get(node.call))]
    names = {node.name for node in copied}
    left = [node for node in nodes if node.name not in names]
    found = by_call(network.calls, {node.name: node.call for node in left}, left)
    seen = []
    for call in network.calls:
        types = [node.type for node in found.get(call.name, ()) if "Conv" in node.type]
        if call.kind == "conv2d" and types:
            seen.append((call, any(_BLOCKED in kind for kind in types)))
    times = {name: sum(node.microseconds for node in listed) for name, listed in found.items()}
    return Timed(network, times, sum(node.microseconds for node in copied), tuple(seen))


def _turns(node: NodeTime, owner: Call | None) -> bool:
    """Whether the runtime put it in to turn a map for, or after, a convolution of bytes: no call of ours transposes."""
    return node.type == "Transpose" and owner is not None and owner.kind in _TURNED and len(owner.shape) == 4


def samples_of(networks: Sequence[Timed], layout: Layout) -> dict[str, list[Sample]]:
    """The calls that took time, by group."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for each in networks:
        calls, whole = each.network.calls, each.network.microseconds
        blocked = layout.blocked(calls)
        contexts = contexts_of(calls, blocked, layout.core, alone=[name for name, time in each.times.items() if time])
        for call in calls:
            time = each.times.get(call.name, 0.0)
            if time > 0:
                group = group_of(call, blocked[call.name], layout.lanes)
                numbers = numbers_of(call, group, contexts[call.name])
                found[group].append(Sample(each.network.name, numbers, time, time / whole))
    return dict(found)


def copies(networks: Sequence[Timed], layout: Layout) -> list[Sample]:
    """The copies between layouts of each network, all together: which of them took how long nobody needs to know."""
    found = []
    for each in networks:
        calls = each.network.calls
        listed = [
            numbers for some in reorders_of(calls, layout.blocked(calls), layout.core).values() for numbers in some
        ]
        if listed and each.reorders > 0:
            share = each.reorders / each.network.microseconds
            found.append(Sample(each.network.name, together(listed), each.reorders, share))
    return found
