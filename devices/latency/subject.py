"""A network made ready for timing: its calls, its ONNX file, and one sample of inputs.

name.json   calls, the returned values, style
name.onnx   what the exporter makes of it for the target
name.npz    inputs at batch 1
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, fx

from compressor.export.onnx import to_onnx
from compressor.graph.calls import Call, calls_of
from compressor.graph.concrete import concrete_values
from compressor.graph.kernels import schedule
from compressor.graph.program import Program
from compressor.targets.target import Target

__all__ = ["Subject", "calls_at_one", "lower", "read"]


@dataclass(frozen=True)
class Subject:
    """`results` are the calls behind the model's outputs, in their order ("" for what no call made)."""

    name: str
    style: str
    calls: tuple[Call, ...]
    results: tuple[str, ...]
    model: Path

    @property
    def inputs(self) -> Path:
        return self.model.with_suffix(".npz")

    def feeds(self) -> dict[str, dict[str, Any]]:
        """Its inputs as the runner takes them."""
        with np.load(self.inputs) as arrays:
            return {name: {"npz": self.inputs} for name in arrays.files}


def calls_at_one(program: Program) -> tuple[Call, ...]:
    """The program's calls at batch 1."""
    values = concrete_values(program, 1)
    return calls_of(program, values, schedule(program, values))


def lower(program: Program, target: Target, folder: Path, name: str, style: str) -> Subject:
    """Write the three files. Raises ExportError or UnsupportedError as `to_onnx`, OSError where the disk refuses."""
    calls = calls_at_one(program)
    subject = Subject(name, style, calls, _results(program), folder / f"{name}.onnx")
    to_onnx(program, target).save(subject.model)
    np.savez(subject.inputs, **_sample(program))
    document = {"style": style, "results": list(subject.results), "calls": [call.to_json() for call in calls]}
    subject.model.with_suffix(".json").write_text(json.dumps(document), encoding="utf-8")
    return subject


def read(folder: Path, name: str) -> Subject:
    """One that was written before. Raises OSError, ValueError or KeyError where it is not whole."""
    document = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    calls = tuple(Call.from_json(call) for call in document["calls"])
    return Subject(name, document["style"], calls, tuple(document["results"]), folder / f"{name}.onnx")


def _results(program: Program) -> tuple[str, ...]:
    output = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    returned: Sequence[Any] = output.args[0] if isinstance(output.args[0], (list, tuple)) else output.args
    return tuple(value.name if isinstance(value, fx.Node) else "" for value in returned)


def _sample(program: Program) -> dict[str, Any]:
    """The example's first row where the batch is dynamic."""
    sample = {}
    for spec, example in zip(program.inputs, program.example, strict=True):
        if isinstance(example, Tensor):
            dynamic = bool(spec.shape) and isinstance(spec.shape[0], str)
            sample[spec.name] = (example[:1] if dynamic else example).detach().contiguous().numpy()
    return sample
