"""Our rows: a pass list each, run as the command runs it, without the gate."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from compressor.export.onnx import to_onnx
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passlist import parse_passes

from .row import EVERY, TRANSFORMERS, Job, Row

__all__ = ["ROWS", "made"]

# name → pass list. More words in a name tell rows of one kind apart; "all" takes layers that get slower, too.
PASSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fp32": ("fold", EVERY),
    "int8": ("fold,int8", EVERY),
    "int8 minmax": ("fold,int8:calibrator=minmax", EVERY),
    "int8 weights": ("fold,int8:mode=weight-only", EVERY),
    "int4": ("fold,int4", TRANSFORMERS),
    "int4 block 32": ("fold,int4:block=32", TRANSFORMERS),
    "int4 all": ("fold,int4:slower=true", EVERY),
    "ternary": ("fold,ternary", TRANSFORMERS),
    "ternary all": ("fold,ternary:slower=true", EVERY),
    "mixed": ("fold,mixed:slower=true", EVERY),
}
TRAINED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "int8 trained": ("fold,int8:train=200steps", EVERY),
    "int4 trained": ("fold,int4:block=32:slower=true:train=300steps", EVERY),
    "ternary trained": ("fold,ternary:block=32:slower=true:train=800steps", TRANSFORMERS),
}


def made(program: Program, passes: str, context: Context) -> Program:
    """The program after a pass list."""
    for spec in parse_passes(passes):
        program = spec.build().run(program, context).program
    return program


def _make(passes: str, job: Job, path: Path) -> None:
    to_onnx(made(job.subject.program, passes, job.context), job.context.target).save(path)


ROWS = [
    Row(name, "ours", functools.partial(_make, passes), subjects, trained)
    for table, trained in ((PASSES, False), (TRAINED, True))
    for name, (passes, subjects) in table.items()
]
