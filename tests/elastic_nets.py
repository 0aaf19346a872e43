"""The digits network with two smaller ones over its weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from recovery import digits_batches, digits_program

from compressor.graph.contract import Batch, Context
from compressor.graph.entries import Entry
from compressor.graph.program import Program
from compressor.passes.elastic import Elastic
from compressor.passes.recover import Family
from compressor.targets import load_target

__all__ = ["context", "digits_entries", "family"]


def context(program: Program, batches: Sequence[Batch], **more: object) -> Context:
    """The batches calibrate and train, the program teaches."""
    given = {"calibration": batches, "training": batches, "teacher": program, "synthetic": False, **more}
    return Context(load_target("x86-64"), **given)  # type: ignore[arg-type]


@functools.cache
def digits_entries() -> tuple[Program, tuple[Entry, ...]]:
    """Half and a quarter of every width, untrained."""
    program = digits_program()
    done = Elastic("0.5/0.25", train="none").run(program, context(program, digits_batches()))
    return done.program, tuple(done.entries.values())


def family(how: str = "sandwich", **more: object) -> Family:
    """Both."""
    return Family(digits_entries()[1], 2, how, **more)  # type: ignore[arg-type]
