"""The learned latency model as everything that predicts uses it: a program's calls, priced by a profile's model.

    t(program) = Σ t(call) + layout changes + the graph itself        [low, high]: nine of ten networks lie within

A target without a profile is answered by the roofline, which says so. What no call of the profile resembles is priced
by its bytes and operations and named in the estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compressor.devices.latency.predicted import CallModel, Predicted
from compressor.graph.cost import Estimate, KernelCost, LatencyModel, Roofline
from compressor.graph.outline import Outline
from compressor.targets.target import Target

__all__ = ["LearnedLatency"]

REST = "(views, layouts, the graph)"


class LearnedLatency(LatencyModel):
    """`models` by number of threads; `source` says what was measured, `calibrated` whether that is the device."""

    def __init__(self, models: Mapping[int, CallModel], source: str, *, calibrated: bool = True) -> None:
        self.models, self.source, self.calibrated = models, source, calibrated

    def price(self, outlined: Outline, target: Target, *, threads: int | None = None) -> Estimate:
        """As `LatencyModel`. Threads that were not profiled are those nearest below."""
        roofline = Roofline().price(outlined, target, threads=threads)
        wanted = threads or target.threads
        model = self.models[max((t for t in self.models if t <= wanted), default=min(self.models))]
        return self._estimate(roofline, model.predict(outlined.calls))

    def _estimate(self, roofline: Estimate, predicted: Predicted) -> Estimate:
        scale = 1e-3
        times = predicted.calls
        kernels = [
            replace(kernel, latency_ms=scale * sum(times.get(node, 0.0) for node in kernel.nodes))
            for kernel in roofline.kernels
        ]  # fmt: skip
        total = scale * predicted.microseconds
        rest = total - sum(kernel.latency_ms for kernel in kernels)
        if rest > 0:
            kernels.append(_rest(rest))
        return replace(
            roofline, kernels=tuple(kernels), latency_ms=total, calibrated=self.calibrated,
            interval_ms=(scale * predicted.low, scale * predicted.high), covered=predicted.covered,
            unknown=predicted.unknown, source=self.source,
        )  # fmt: skip


def _rest(milliseconds: float) -> KernelCost:
    return KernelCost(
        layer=REST, kind="overhead", shape=(), format="", macs=0, weight_bytes=0, activation_bytes=0,
        latency_ms=milliseconds, roof="overhead", nodes=(),
    )  # fmt: skip
