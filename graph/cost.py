"""What a program would cost on a target: the `LatencyModel` contract and the analytical roofline.

    t(kernel) = max(MACs / rate(format), bytes / bandwidth) + overhead
    t(program) = Σ t(kernel)        over fused kernels

Williams, Waterman, Patterson: Roofline, an insightful visual performance model (2009). The rates are peaks from data
sheets, so a real board is slower, by a factor that differs between kinds of kernel: the result is uncalibrated.
Weights in blocks (int4, int2) multiply at the int8 rate where the kernel rounds its input, and move as they are stored.
Zeros in a weight count where the target makes use of their pattern (`graph/sparsity.py`), and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from compressor.graph.concrete import Values, concrete_values
from compressor.graph.outline import Fusion, Outline, Work, outline
from compressor.graph.program import Program
from compressor.graph.sparsity import saving_of
from compressor.targets.target import Target

__all__ = ["ROOFLINE", "SLACK", "Estimate", "KernelCost", "LatencyModel", "Roofline", "fusion_of"]

SLACK = 1.01  # what costs so many times as much is no worse
ROOFLINE = "a roofline from the target's data sheet, not a measurement"
_BYTES = {"fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True)
class KernelCost:
    """One fused kernel: what runs, its work, and the roof that bounds it.

    `layer` names it after its parameters; `nodes` are the graph nodes it covers.
    """

    layer: str
    kind: str  # "conv2d", "linear", "elementwise", …
    shape: tuple[int, ...]  # of the output
    format: str  # "fp32", "fp16", "int8": what the multiply–accumulates run in; "int4", "int2": the weights in blocks
    macs: int
    weight_bytes: int
    activation_bytes: int  # read and written
    latency_ms: float
    roof: Literal["compute", "memory", "overhead"]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """A predicted latency and its parts. `calibrated` tells whether it rests on measurements of the device.

    `source` says what it rests on. A learned model adds an interval in milliseconds that holds nine of ten networks,
    the share of calls whose kind it has measured, and the operators that it has not.
    """

    kernels: tuple[KernelCost, ...]
    latency_ms: float
    calibrated: bool
    peak_activation_bytes: int
    source: str = ROOFLINE
    interval_ms: tuple[float, float] | None = None
    covered: float = 0.0
    unknown: tuple[str, ...] = ()
    factor: float = 1.0  # that earlier measurements put on every time
    past: str = ""  # the model's error so far, in a sentence

    @property
    def macs(self) -> int:
        return sum(kernel.macs for kernel in self.kernels)

    def times(self, groups: Mapping[str, Collection[str]]) -> dict[str, float]:
        """Milliseconds of the kernels that compute any of a group's nodes (by name), for each group that has some."""
        found: dict[str, float] = {}
        for group, nodes in groups.items():
            own = [kernel.latency_ms for kernel in self.kernels if not set(nodes).isdisjoint(kernel.nodes)]
            if own:
                found[group] = sum(own)
        return found


class LatencyModel(ABC):
    """Predicts what a program would cost on a target, without running it."""

    source: str = ROOFLINE  # what it rests on

    def predict(
        self,
        program: Program,
        target: Target,
        *,
        batch: int = 1,
        threads: int | None = None,
        values: Values | None = None,
    ) -> Estimate:
        """The cost of one inference of `batch` samples.

        `values` are shapes to assume in place of the program's own (of a cut not made yet). A dimension that is dynamic
        besides the batch (a sequence) has the example's size.
        """
        known = concrete_values(program, batch) if values is None else values
        return self.price(outline(program, known, {offer.group for offer in target.sparsity}), target, threads=threads)

    @abstractmethod
    def price(self, outlined: Outline, target: Target, *, threads: int | None = None) -> Estimate:
        """The cost of one inference of a program that is known by its outline alone."""


class Roofline(LatencyModel):
    """The analytical model. A target's own numbers are all it knows of a board."""

    def price(self, outlined: Outline, target: Target, *, threads: int | None = None) -> Estimate:
        """As `LatencyModel`; `threads` scales the compute rate of a CPU."""
        share = min(threads or target.threads, target.threads) / target.threads if target.on_cpu else 1.0
        found = outlined.kernels(fusion_of(target))
        kernels = tuple(_cost(work, target, share) for work in found.works)
        total = sum(kernel.latency_ms for kernel in kernels)
        return Estimate(kernels, total, calibrated=False, peak_activation_bytes=found.peak_activation_bytes)


def fusion_of(target: Target) -> Fusion:
    """How the runtime of the target's preferred provider fuses."""
    provider = target.providers[0].name.lower() if target.providers else "cpu"
    if provider.startswith("tvm"):
        return "tvm"
    return "tensorrt" if "tensorrt" in provider else "onnxruntime"


def _cost(work: Work, target: Target, share: float) -> KernelCost:
    native = _runs_natively(work.arithmetic, target)
    rate = target.rate(work.arithmetic if native else "fp32") * share
    moved = (work.weight_bytes + work.activation_bytes) * (1 if native or work.blocks else _cast_factor(work.format))
    if (saving := saving_of(work.zeros, work.format, target)) is not None:
        rate *= saving.speedup
        moved -= saving.bytes
    compute, memory, overhead = work.macs / rate, moved / target.bandwidth.value, target.node_overhead.value
    roof: Literal["compute", "memory", "overhead"] = "compute" if compute > memory else "memory"
    return KernelCost(
        layer=work.layer,
        kind=work.kind,
        shape=work.shape,
        format=work.format,
        macs=work.macs,
        weight_bytes=work.weight_bytes,
        activation_bytes=work.activation_bytes,
        latency_ms=1e3 * (max(compute, memory) + overhead),
        roof="overhead" if overhead > max(compute, memory) else roof,
        nodes=work.nodes,
    )


def _runs_natively(format_name: str, target: Target) -> bool:
    return format_name == "fp32" or any(format_name in provider.formats for provider in target.providers)


def _cast_factor(format_name: str) -> float:
    """Bytes moved for each stored byte of a format that no provider runs: it is read, widened to fp32, read again."""
    return 1 + 2 * 4 / _BYTES.get(format_name, 4)
