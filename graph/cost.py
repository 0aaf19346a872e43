"""What a program would cost on a target: the `LatencyModel` protocol and the analytical roofline.

    t(kernel) = max(MACs / rate(format), bytes / bandwidth) + overhead
    t(program) = Σ t(kernel)        over fused kernels

Williams, Waterman, Patterson: Roofline, an insightful visual performance model (2009). The rates are peaks from data
sheets, so a real board is slower, by a factor that differs between kinds of kernel: the result is uncalibrated.
Weights in blocks (int4, int2) multiply at the int8 rate where the kernel rounds its input, and move as they are stored.
Zeros in a weight count where the target makes use of their pattern (`graph/sparsity.py`), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from compressor.graph.concrete import Values, concrete_values
from compressor.graph.kernels import Kernel, Schedule, layer_of, schedule
from compressor.graph.memory import peak_activation_bytes
from compressor.graph.program import Program
from compressor.graph.sparsity import Sparse, sparse_of
from compressor.targets.target import Target

__all__ = ["ROOFLINE", "SLACK", "Estimate", "KernelCost", "LatencyModel", "Roofline"]

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


class LatencyModel(Protocol):
    """Predicts what a program would cost on a target, without running it."""

    def predict(
        self,
        program: Program,
        target: Target,
        *,
        batch: int = 1,
        threads: int | None = None,
        values: Values | None = None,
    ) -> Estimate:
        """The cost of one inference of `batch` samples; with `values`, as if its values had those shapes."""


class Roofline:
    """The analytical model. A target's own numbers are all it knows of a board."""

    source = ROOFLINE

    def predict(
        self,
        program: Program,
        target: Target,
        *,
        batch: int = 1,
        threads: int | None = None,
        values: Values | None = None,
    ) -> Estimate:
        """The cost of one inference of `batch` samples; `threads` scales the compute rate of a CPU.

        `values` are shapes to assume in place of the program's own (of a cut not made yet). A dimension that is dynamic
        besides the batch (a sequence) has the example's size.
        """
        known = concrete_values(program, batch) if values is None else values
        provider = _first_provider(target)
        plan = schedule(program, known, requantized="tensorrt" not in provider, own=provider.startswith("tvm"))
        share = min(threads or target.threads, target.threads) / target.threads if target.on_cpu else 1.0
        kernels = tuple(_cost(k, plan, target, share, sparse_of(program, k, target)) for k in plan.kernels)
        total = sum(kernel.latency_ms for kernel in kernels)
        return Estimate(kernels, total, calibrated=False, peak_activation_bytes=peak_activation_bytes(plan))


def _cost(kernel: Kernel, plan: Schedule, target: Target, share: float, sparse: Sparse | None) -> KernelCost:
    weights, activations = sum(kernel.weights.values()), kernel.activation_bytes
    native = _runs_natively(kernel.arithmetic, target)
    rate = target.rate(kernel.arithmetic if native else "fp32") * share
    moved = (weights + activations) * (1 if native or kernel.blocks else _cast_factor(kernel.format))
    if sparse is not None:
        rate *= sparse.speedup
        moved -= (1 - sparse.moved) * kernel.weights.get(sparse.weight, 0)
    compute, memory, overhead = kernel.macs / rate, moved / target.bandwidth.value, target.node_overhead.value
    roof: Literal["compute", "memory", "overhead"] = "compute" if compute > memory else "memory"
    return KernelCost(
        layer=layer_of(kernel.anchor),
        kind=kernel.kind,
        shape=_shape(kernel, plan),
        format=kernel.format,
        macs=kernel.macs,
        weight_bytes=weights,
        activation_bytes=activations,
        latency_ms=1e3 * (max(compute, memory) + overhead),
        roof="overhead" if overhead > max(compute, memory) else roof,
        nodes=tuple(node.name for node in kernel.nodes),
    )


def _runs_natively(format_name: str, target: Target) -> bool:
    return format_name == "fp32" or any(format_name in provider.formats for provider in target.providers)


def _cast_factor(format_name: str) -> float:
    """Bytes moved for each stored byte of a format that no provider runs: it is read, widened to fp32, read again."""
    return 1 + 2 * 4 / _BYTES.get(format_name, 4)


def _first_provider(target: Target) -> str:
    return target.providers[0].name.lower() if target.providers else "cpu"


def _shape(kernel: Kernel, plan: Schedule) -> tuple[int, ...]:
    shapes = [plan.values[node] for node in kernel.outputs or kernel.nodes[-1:]]
    return tuple(shapes[-1].shape) if shapes and isinstance(shapes[-1], Tensor) else ()
