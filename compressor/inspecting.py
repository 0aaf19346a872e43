"""`compress inspect`: what each fused kernel of a model does and would cost on a target, as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compressor.report.compare import display, plain
from compressor.report.terminal import line, table

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.graph.cost import Estimate, KernelCost
    from compressor.graph.program import Program
    from compressor.targets.target import Target

__all__ = ["Inspection", "inspect_program"]


@dataclass(frozen=True)
class Inspection:
    """A program's costs on a target: totals, and the estimate with its kernels in order of execution."""

    target: str
    batch: int
    parameters: int
    unique_bytes: int
    inputs: tuple[str, ...]
    estimate: Estimate
    first_token: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """Totals and one entry a kernel; times in milliseconds, `share` of the total time, sizes in bytes."""
        estimate = self.estimate
        return {
            "target": self.target,
            "batch": self.batch,
            "inputs": list(self.inputs),
            "parameters": self.parameters,
            "unique_bytes": self.unique_bytes,
            "macs": estimate.macs,
            "peak_activation_bytes": estimate.peak_activation_bytes,
            "latency_ms": {"predicted": estimate.latency_ms, "measured": None},
            "first_token_ms": None if self.first_token is None else self.first_token.latency_ms,
            "calibrated": estimate.calibrated,
            "predicted_from": estimate.source,
            "interval_ms": estimate.interval_ms,
            "covered": estimate.covered,
            "unknown_operators": list(estimate.unknown),
            "past": estimate.past,
            "kernels": [{**asdict(kernel), "share": self._share(kernel)} for kernel in estimate.kernels],
        }

    def render(self, console: Console) -> None:
        """One row a kernel and the totals, readable at 80 columns."""
        rows = [
            [
                plain(kernel.layer),
                plain(kernel.kind),
                "×".join(map(str, kernel.shape)),
                display(kernel.macs, "count"),
                display(kernel.weight_bytes + kernel.activation_bytes, "bytes"),
                kernel.format,
                display(kernel.latency_ms, "ms"),
                f"{self._share(kernel):.1%}",
                kernel.roof,
            ]
            for kernel in self.estimate.kernels
        ]
        headings = ["layer", "kind", "output", "MACs", "bytes", "in", "time", "share", "roof"]
        console.print(table(headings, rows, right=(3, 4, 6, 7)))
        for text in self._totals():
            console.print(line(text, console))

    def _totals(self) -> list[str]:
        estimate = self.estimate
        return [
            f"target {plain(self.target)}, batch {self.batch}, inputs {plain(', '.join(self.inputs))}",
            f"parameters {display(self.parameters, 'count')}, weights {display(self.unique_bytes, 'bytes')}, "
            f"MACs {display(estimate.macs, 'count')}, "
            f"peak activation memory {display(estimate.peak_activation_bytes, 'bytes')}",
            *([] if self.first_token is None else [_answer(self.first_token)]),
            *predicted(estimate),
        ]

    def _share(self, kernel: KernelCost) -> float:
        return kernel.latency_ms / self.estimate.latency_ms if self.estimate.latency_ms else 0.0


def _answer(first: Estimate) -> str:
    """What the figures of a decoder with a key–value cache are of."""
    from compressor.graph.concrete import READING, STEP
    from compressor.graph.naming import PAST, SEQUENCE

    kept, read = STEP[PAST], READING[SEQUENCE]
    latency = display(first.latency_ms, "ms")
    return f"all is of a token behind {kept} kept; the first one, after {read} read, takes {latency}"


def predicted(estimate: Estimate) -> list[str]:
    """The predicted latency and how far it can be believed, in sentences."""
    interval = ""
    if estimate.interval_ms is not None:
        low, high = estimate.interval_ms
        interval = f" ({display(low, 'ms')} to {display(high, 'ms')} nine times in ten)"
    label = "" if estimate.calibrated else "uncalibrated: "
    found = [f"predicted latency {display(estimate.latency_ms, 'ms')}{interval}", f"{label}{plain(estimate.source)}"]
    if estimate.unknown:
        found.append(f"never measured, priced by bytes and operations: {plain(', '.join(estimate.unknown))}")
    return [*found, estimate.past] if estimate.past else found


def inspect_program(program: Program, target: Target, batch: int = 1, threads: int | None = None) -> Inspection:
    """What the target's latency model says of a program at one batch size. Dynamic dimensions besides it take the
    example's sizes; a decoder with a key–value cache takes one token behind others."""
    from compressor.devices.latency.lookup import latency_model
    from compressor.graph.concrete import READING, concrete_values
    from compressor.graph.kv_cache import cache_of
    from compressor.graph.signature import dtype_name

    inputs = tuple(
        f"{spec.name} {'×'.join(str(size) for size in spec.shape)} {dtype_name(spec.dtype)}" for spec in program.inputs
    )
    model, first = latency_model(target), None
    estimate = model.predict(program, target, batch=batch, threads=threads)
    if cache_of(program.inputs):
        values = concrete_values(program, batch, READING)
        first = model.predict(program, target, batch=batch, threads=threads, values=values)
    return Inspection(target.name, batch, program.parameters(), program.unique_bytes(), inputs, estimate, first)
