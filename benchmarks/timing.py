"""Two programs timed beside each other in ONNX Runtime, folded and lowered by us."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compressor.devices.local import compare
from compressor.devices.side_by_side import side_by_side
from compressor.export.onnx import to_onnx
from compressor.graph.contract import Batch, Context
from compressor.graph.program import Program
from compressor.passes.fold import Fold

__all__ = ["timed"]


def timed(dense: Program, smaller: Program, context: Context, batch: Batch) -> dict[str, float]:
    """Median milliseconds of the batch's first sample with one thread, interleaved; the speed-up with its interval."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for index, program in enumerate((dense, smaller)):
            paths[str(index)] = Path(folder) / f"{index}.onnx"
            to_onnx(Fold().run(program, context).program, context.target).save(paths[str(index)])
        measured = compare(paths, {name: value[:1] for name, value in batch.items()}, threads=1)
    both = side_by_side(measured["0"], measured["1"])
    return {
        "dense_ms": both.before, "ms": both.after, "speedup": 1 / both.ratio, "speedup_low": 1 / both.high,
        "speedup_high": 1 / both.low,
    }  # fmt: skip
