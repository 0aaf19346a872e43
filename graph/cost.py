"""What a program would cost on a target: the `LatencyModel` protocol and the analytical roofline.

    t(kernel) = max(MACs / rate(format), bytes / bandwidth) + overhead
    t(program) = Σ t(kernel)        over fused kernels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from compressor.graph.program import Program
from compressor.targets.target import Target

__all__ = ["Estimate", "KernelCost", "LatencyModel"]


@dataclass(frozen=True)
class KernelCost:
    """One fused kernel: what runs, its work, and the roof that bounds it.

    `layer` names it after its parameters; `nodes` are the graph nodes it covers.
    """

    layer: str
    kind: str  # "conv2d", "linear", "elementwise", …
    shape: tuple[int, ...]  # of the output
    format: str  # "fp32", "fp16", "int8": what the multiply–accumulates run in
    macs: int
    weight_bytes: int
    activation_bytes: int  # read and written
    latency_ms: float
    roof: Literal["compute", "memory", "overhead"]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """A predicted latency and its parts. `calibrated` is false for the roofline."""

    kernels: tuple[KernelCost, ...]
    latency_ms: float
    calibrated: bool
    peak_activation_bytes: int

    @property
    def macs(self) -> int:
        return sum(kernel.macs for kernel in self.kernels)


class LatencyModel(Protocol):
    """Predicts what a program would cost on a target, without running it."""

    def predict(self, program: Program, target: Target, *, batch: int = 1, threads: int | None = None) -> Estimate: ...
