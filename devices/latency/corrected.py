"""A latency model with what later measurements on the target taught: every time multiplied by one factor."""

from __future__ import annotations

from dataclasses import replace

from compressor.devices.latency.history import Past
from compressor.graph.cost import Estimate, LatencyModel
from compressor.graph.outline import Outline
from compressor.targets.target import Target

__all__ = ["Corrected"]


class Corrected(LatencyModel):
    """`base` times `past.factor`; the estimate tells the past error."""

    def __init__(self, base: LatencyModel, past: Past) -> None:
        self.base, self.past = base, past

    def price(self, outlined: Outline, target: Target, *, threads: int | None = None) -> Estimate:
        """As `LatencyModel`."""
        found = self.base.price(outlined, target, threads=threads)
        factor, interval = self.past.factor, found.interval_ms
        return replace(
            found,
            kernels=tuple(replace(kernel, latency_ms=factor * kernel.latency_ms) for kernel in found.kernels),
            latency_ms=factor * found.latency_ms,
            interval_ms=None if interval is None else (factor * interval[0], factor * interval[1]),
            factor=factor * found.factor,
            past=self.past.text(),
        )  # fmt: skip
