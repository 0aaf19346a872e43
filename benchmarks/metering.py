"""Joules of runs of ONNX models, in turn: the machine's sensor, or CPU seconds × watts a core, labelled so."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from compressor.devices.energy import Span
from compressor.export.onnx import to_onnx
from compressor.export.session import session
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.making import Ledger
from compressor.targets import Target

__all__ = ["in_turn", "lowered", "model_run", "spread_of"]

Run = Callable[[int], object]  # the index of an inference


def lowered(program: Program, target: Target, path: Path) -> int:
    """Writes the program's ONNX model; its bytes."""
    return sum(file.stat().st_size for file in to_onnx(program, target).save(path))


def model_run(path: Path, batches: Sequence[Batch]) -> Run:
    """One inference on one thread, of the batches one after the other."""
    loaded = session(path, 1)
    names = [value.name for value in loaded.get_inputs()]
    feeds = [{name: np.ascontiguousarray(batch[name].numpy()) for name in names} for batch in batches]
    return lambda index: loaded.run(None, feeds[index % len(feeds)])


def in_turn(runs: Mapping[str, Run], count: int, repeats: int) -> tuple[dict[str, list[float]], str]:
    """Joules of `count` inferences of each, `repeats` times in turn, and how they are known."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    with Ledger() as ledger:
        for run in runs.values():  # warm: memory planned, clocks up
            for index in range(min(count, 20)):
                run(index)
        for _ in range(repeats):
            for name, run in runs.items():
                begun = ledger.so_far()
                for index in range(count):
                    run(index)
                found[name].append(ledger.so_far().since(begun).joules)
        return found, ledger.making().source


def spread_of(values: Sequence[float], count: int) -> Span:
    """Joules an inference: median, least and most of the repeats."""
    return Span(min(values), statistics.median(values), max(values)) * (1 / count)
