"""The entries that a bundle ships beside its model: each lowered over the same weights, run, judged and measured.

    model.onnx   model.onnx.data      model-0.5.onnx  →  the rows of model.onnx.data that it computes with

`compress verify` and `compress bench --entry` take them by the names that `manifest.json` lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.devices.latency.learning import prediction
from compressor.errors import InputError
from compressor.export.agreement import Agreement
from compressor.export.check import check
from compressor.export.entries import write_entry
from compressor.export.session import runner
from compressor.graph.contract import Context
from compressor.graph.entries import Entry
from compressor.graph.program import Program
from compressor.judging import Artifact, Workshop
from compressor.passlist import PassSpec
from compressor.pipeline import Stage
from compressor.report.compare import display
from compressor.request import Request
from compressor.targets import Target
from compressor.targets.kernels import CUSTOM_OP
from compressor.targets.tvm import BOTH, TVM

__all__ = ["Shipped", "check_shared", "makes_entries", "ship"]


@dataclass(frozen=True)
class Shipped:
    """One entry: its program, its file, how far that is from PyTorch, and its figures. Latencies in milliseconds;
    `bytes` are those of its file, which has none of the weights that it shares."""

    name: str
    program: Program
    path: Path
    agreement: Agreement
    metric: float
    predicted: Mapping[str, Any] | None = None  # as `compress bench` holds its measurement against it
    measured_ms: float | None = None

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def to_json(self, metric: str) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "name": self.name, "file": self.path.name, "bytes": self.bytes, "parameters": self.program.parameters(),
            "inputs": [spec.to_json() for spec in self.program.inputs],
            "outputs": [spec.to_json() for spec in self.program.outputs],
            "error": self.agreement.error, "metric": {metric: self.metric}, "measured_ms": self.measured_ms,
            **({} if self.predicted is None else {"predicted": dict(self.predicted)}),
        }  # fmt: skip

    def told(self, metric: str) -> str:
        """A sentence for the user."""
        predicted = None if self.predicted is None else self.predicted["latency_ms"]
        times = (("predicted", predicted), ("measured", self.measured_ms))
        shown = "".join(f", {value:.4g} ms {how}" for how, value in times if value is not None)
        size = display(self.bytes, "bytes")
        return (
            f"entry {self.name} ({self.path.name}): {metric} {self.metric:.4f}, {self.program.parameters():,} "
            f"parameters{shown}; {size} of its own"
        )


def makes_entries(specs: Sequence[PassSpec]) -> bool:
    """Whether a pass leaves more than one program."""
    return any(spec.build().last for spec in specs)


def check_shared(request: Request, specs: Sequence[PassSpec], target: Target) -> None:
    """Raises InputError where entries are asked for together with what has no place for them."""
    asked = {
        f"--runtime {request.runtime}": target.runtime.name == TVM or request.runtime == BOTH,
        f"--kernels {request.kernels}": request.kernels == CUSTOM_OP,
        "--pack": request.pack,
    }
    for name, given in asked.items():
        if given and makes_entries(specs):
            raise InputError(
                "entries share the weights of an ONNX file, which this does not write", where=name,
                way_out=f"Leave {name} out, or elastic.",
            )  # fmt: skip


def ship(kept: Artifact, stages: Sequence[Stage], workshop: Workshop, context: Context) -> tuple[Shipped, ...]:
    """The entries of the program that is kept, beside its file; none where it has none.

    Raises MismatchError where one disagrees with PyTorch, and what lowering raises.
    """
    found: Mapping[str, Entry] = next((s.entries for s in stages if s.kept and s.program is kept.program), {})
    made = [_made(name, entry, kept, workshop, context) for name, entry in found.items()]
    return tuple(_timed(made, kept, workshop))


def _made(name: str, entry: Entry, kept: Artifact, workshop: Workshop, context: Context) -> Shipped:
    workshop.progress.say(f"lowering to ONNX (entry {name})")
    prepared, path = workshop.prepared, kept.path.with_name(f"model-{name}.onnx")
    write_entry(entry, prepared.target, kept.path, path)
    agreement = check(entry.program, path, prepared.evaluation)
    run = runner(path, exact=not kept.x86, approximate=True)
    metric = prepared.metric.evaluate(run, prepared.judged, prepared.reference)
    return Shipped(name, entry.program, path, agreement, metric, _predicted(entry.program, workshop, context))


def _predicted(program: Program, workshop: Workshop, context: Context) -> Mapping[str, Any] | None:
    if context.latency is None:
        return None
    target, batch = workshop.prepared.target, workshop.batch
    estimate = context.latency.predict(program, target, batch=batch, threads=workshop.threads)
    return prediction(estimate, program.hash(), workshop.threads or target.threads, batch)


def _timed(made: Sequence[Shipped], kept: Artifact, workshop: Workshop) -> list[Shipped]:
    """With what each takes in turn with the whole network, where this machine is the target."""
    names = [spec.name for spec in kept.program.inputs]
    alike = [each for each in made if [spec.name for spec in each.program.inputs] == names]
    times = workshop.timing.beside_each_other([kept.path, *(each.path for each in alike)]) if alike else {}
    return [replace(each, measured_ms=times[each.path].p50) if each.path in times else each for each in made]
