"""A row of the table: how one tool makes an ONNX file of a subject, and which subjects it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from subjects import Subject

from compressor.graph.contract import Context

__all__ = ["EVERY", "KINDS", "TRANSFORMERS", "Job", "Row"]

KINDS = ("fp32", "int8", "int4", "mixed", "ternary")
EVERY = ("resnet", "mobilenetv2", "vit", "minilm", "gpt")
TRANSFORMERS = ("vit", "minilm", "gpt")


@dataclass(frozen=True)
class Job:
    """What a row starts from: the subject, the target with the calibration data, and the fp32 ONNX file."""

    subject: Subject
    context: Context
    plain: Path


@dataclass(frozen=True)
class Row:
    """`make` writes the ONNX file; `tool` is "ours" or the peer; `trained` rows take part where it is asked for."""

    name: str
    tool: str
    make: Callable[[Job, Path], None]
    subjects: tuple[str, ...] = EVERY
    trained: bool = False

    @property
    def kind(self) -> str:
        return self.name.split()[0]
