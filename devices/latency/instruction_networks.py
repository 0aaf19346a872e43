"""Random small networks (`networks/`) as jobs whose instructions can be counted, with their work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from compressor.devices.counting import count_models
from compressor.devices.device import Device
from compressor.devices.latency.instructions import Row, work_of
from compressor.devices.latency.networks import network
from compressor.devices.model_jobs import Job
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.concrete import BATCH
from compressor.graph.contract import Progress
from compressor.graph.program import Program
from compressor.targets.target import Target

__all__ = ["Candidate", "candidates", "counted_rows"]

MOST_MACS = 120e6  # an emulated inference of more takes too long


@dataclass(frozen=True)
class Candidate:
    """A network in one format as a job; `row` lacks its count."""

    row: Row
    job: Job


Make = Callable[[Program], Program]


def candidates(
    styles: Sequence[str], seed: int, target: Target, folder: Path, formats: Mapping[str, Make]
) -> Iterator[Candidate]:
    """One network a style in every format, lowered for `target`; those that are too large to emulate are left out.

    `formats` make, by name, what is lowered from the captured program.
    """
    for style in styles:
        drawn = network(style, seed)
        captured = capture(drawn.module, drawn.example).program
        if sum(value for name, value in work_of(captured).items() if name.startswith("macs")) > MOST_MACS:
            continue
        for format, make in formats.items():
            program, path = make(captured), folder / f"{style}-{seed}-{format}.onnx"
            to_onnx(program, target).save(path)
            yield Candidate(Row(style, seed, format, work_of(program), 0), Job(path, _inputs(program)))


def counted_rows(device: Device, found: Sequence[Candidate], progress: Progress = Progress()) -> list[Row]:  # noqa: B008
    """The candidates that run there, with their counts: one inference each, whose own spread is below 0.1%.

    Raises DeviceError for a device that counts no instructions.
    """
    counts = count_models(device, [each.job for each in found], runs=1, before=2, progress=progress)
    return [
        Row(each.row.style, each.row.seed, each.row.format, each.row.work, counted.instructions)
        for each, counted in zip(found, counts, strict=True)
        if counted.instructions is not None
    ]


def _inputs(program: Program) -> dict[str, dict[str, Any]]:
    """One random sample of the example's lengths and range."""
    found = {}
    for spec, example in zip(program.inputs, program.example, strict=True):
        lengths = {str(name): size for name, size in zip(spec.shape, example.shape, strict=True)}
        found[spec.name] = {"shape": list(spec.concrete(**{**lengths, BATCH: 1})), **_values(example)}
    return found


def _values(example: Tensor) -> dict[str, Any]:
    if example.is_floating_point():
        return {"dtype": "float32", "low": -1.0, "high": 1.0}
    return {"dtype": str(example.dtype).removeprefix("torch."), "low": 0, "high": int(example.max()) + 1}
