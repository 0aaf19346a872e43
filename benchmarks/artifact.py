"""An ONNX file in ONNX Runtime as something that a subject's metric can be of."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from subjects import Subject
from torch import Tensor

from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.targets.target import Target

__all__ = ["Artifact", "as_lowered"]


@dataclass(frozen=True)
class Artifact:
    """The file as an application runs it on one thread, with the runtime's own rounding."""

    path: Path

    def run(self, batch: Batch, /) -> Mapping[str, Tensor]:
        return self._runner(batch)

    @functools.cached_property
    def _runner(self) -> Callable[[Batch], Mapping[str, Tensor]]:
        return runner(self.path, 1, exact=False, approximate=True)


def as_lowered(subject: Subject, program: Program, target: Target) -> dict[str, float]:
    """The subject's figures of the program's ONNX file, which is written for that alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(program, target).save(path)
        return subject.figures(Artifact(path))
