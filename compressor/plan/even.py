"""A board that is always the same, on which is decided what has to hold for all boards.

1 GMAC/s whatever the format, 1 GB/s, 1 µs a kernel        fusing as the target's runtime does, with its formats
"""

from __future__ import annotations

from dataclasses import replace

from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.targets.target import Figure

__all__ = ["even"]

_SOURCE = "a round number"


def even(context: Context) -> Context:
    """The same context on that board."""
    target = replace(
        context.target, rates={"fp32": Figure(1e9, _SOURCE)}, bandwidth=Figure(1e9, _SOURCE),
        node_overhead=Figure(1e-6, _SOURCE),
    )  # fmt: skip
    return replace(context, target=target, latency=Roofline())
