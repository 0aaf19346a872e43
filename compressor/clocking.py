"""Times of programs that are cuts of the original: lowered, held to PyTorch on a few samples, timed in turn, not kept.

The planner bends the latency model to them (`plan/cuts.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from compressor.errors import ExportError, MismatchError, UnsupportedError
from compressor.graph.program import Program
from compressor.judging import Artifact, Workshop
from compressor.plan.cuts import Clocks
from compressor.targets.tvm import TVM
from compressor.trying import FEW

__all__ = ["clocks_of"]


def clocks_of(workshop: Workshop, *, only_kept: bool = False) -> Clocks | None:
    """Of ONNX Runtime on the host or the board of `--device`; None where nothing tells times, or TVM's compiler, which
    takes long for each, makes what is timed. `only_kept`: nothing is timed anew."""
    target, timing = workshop.prepared.target, workshop.timing
    if not timing.where or target.runtime.name == TVM or workshop.own_kernels:
        return None
    threads = workshop.threads or target.threads
    kept_as = f"{timing.where} {target.name} {threads} threads, batches of {workshop.batch}"
    return Clocks(timing.where, kept_as, None if only_kept else partial(_times, workshop))


def _times(workshop: Workshop, programs: Sequence[Program]) -> list[float | None]:
    """Milliseconds; None of a program that cannot be lowered or disagrees with itself in PyTorch."""
    with tempfile.TemporaryDirectory(dir=workshop.folder) as folder:
        made = [_made(workshop, each, Path(folder)) for each in workshop.progress.over(programs, "lowering cuts")]
        times = workshop.timing.in_turn([each for each in made if each is not None])
    found = iter([times[str(index)].p50 for index in range(len(times))])
    return [None if each is None else next(found) for each in made] if times else []


def _made(workshop: Workshop, program: Program, parent: Path) -> Artifact | None:
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        return workshop.lowered(program, folder, [workshop.prepared.shown_batch(FEW)])
    except (UnsupportedError, ExportError, MismatchError) as error:
        workshop.progress.say(f"not timed: {error}")
        return None
