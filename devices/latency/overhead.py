"""Node times less what the runtime's profiler adds to each.

    t'_i = max(t_i − δ, t_min) · s,    δ = max(0, (Σ t_i − T) / n),    s so that Σ t'_i = T

T is the whole inference timed without the profiler, n the number of nodes; all in microseconds. The profiler reads a
clock before and after every node, which costs the same whatever the node does: of a network of many small nodes it
makes up half. Raw times are kept raw in a profile; this is done when a model is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressor.devices.latency.attribution import NodeTime

__all__ = ["without_profiler"]

_LEAST = 0.25  # microseconds that a node takes at least: a call through the runtime's table of kernels


def without_profiler(nodes: Sequence[NodeTime], microseconds: float) -> tuple[NodeTime, ...]:
    """The nodes with times that add up to `microseconds`."""
    if not nodes:
        return ()
    each = max(0.0, (sum(node.microseconds for node in nodes) - microseconds) / len(nodes))
    left = [max(_LEAST, node.microseconds - each) for node in nodes]
    scale = microseconds / sum(left)
    return tuple(replace(node, microseconds=time * scale) for node, time in zip(nodes, left, strict=True))
