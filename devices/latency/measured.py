"""A network as it was timed on a device: its calls, the runtime's nodes and the whole inference."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.devices.latency.attribution import NodeTime
from compressor.graph.calls import Call

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """`microseconds` is the whole inference without the runtime's profiler; `nodes` were timed with it, which adds a
    few microseconds to each. `style` tells networks of one kind from others."""

    name: str
    style: str
    threads: int
    calls: tuple[Call, ...]
    nodes: tuple[NodeTime, ...]
    microseconds: float
