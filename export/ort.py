"""ORT format, which ONNX Runtime's minimal mobile builds load, and the list of operators that such a build needs.

ONNX Runtime's own converter does both, in a process of its own: its optimizations of the graph need as much memory
as the model twice over, and the whole of it goes back when it ends. "amd64" is never asked for: it writes NCHWc
nodes, which fail everywhere else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from compressor.errors import ExportError, MismatchError
from compressor.export.session import session
from compressor.graph.contract import Batch
from compressor.targets.target import Target

__all__ = ["ORT_LIMIT", "Converted", "to_ort"]

ORT_LIMIT = 2**31 - 1  # offsets in the file are 32-bit
_COMPILING = {"NnapiExecutionProvider", "CoreMLExecutionProvider", "QNNExecutionProvider", "XnnpackExecutionProvider"}
_SAME_KERNELS = 1e-3  # of the output's RMS: both files run the same kernels, at most fused differently
_ARM_INTEGERS = {"session.qdqisint8allowed": "1"}  # what "--target_platform arm" converts under


@dataclass(frozen=True)
class Converted:
    """`model.ort` and `model.required_operators.config`, or no files and a note that says why."""

    files: tuple[Path, ...]
    note: str = ""


def to_ort(onnx_path: Path, target: Target, *, batch: Batch | None = None, limit: int = ORT_LIMIT) -> Converted:
    """Convert `NAME.onnx` to `NAME.ort` beside it. With a `batch`, both are run and must agree.

    Nothing is written, and a note says so, where the model exceeds `limit` bytes. Raises ExportError when the
    converter fails, MismatchError when the two files disagree.
    """
    size = sum(file.stat().st_size for file in onnx_path.parent.glob(f"{onnx_path.name}*"))
    if size > limit:
        return Converted((), f"model.ort is left out: {size / 2**30:.1f} GB exceed the 2 GB that ORT format can hold")
    arm = target.arch.startswith("aarch64")
    compiling = any(provider.name in _COMPILING for provider in target.providers)
    with tempfile.TemporaryDirectory(dir=onnx_path.parent) as folder:
        _convert(onnx_path, Path(folder), "Runtime" if compiling else "Fixed", arm)
        model = onnx_path.with_suffix(".ort")
        config = onnx_path.with_suffix(".required_operators.config")
        _only(Path(folder), "*.ort").replace(model)
        lines = _only(Path(folder), "*.config").read_text().splitlines()
        config.write_text("\n".join(line for line in lines if not line.startswith("#")) + "\n")
    if batch is not None:
        _agree(onnx_path, model, batch, arm)
    return Converted((model, config))


def _convert(source: Path, folder: Path, style: str, arm: bool) -> None:
    command = [
        sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", str(source), "--output_dir", str(folder),
        "--optimization_style", style, "--enable_type_reduction", *(["--target_platform", "arm"] if arm else []),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if "rror" in line]
        reason = lines[-1].strip() if lines else f"it ended with status {result.returncode}"
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} cannot convert it to ORT format: {reason}")


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise ExportError(f"ONNX Runtime's converter wrote {len(found)} files like {pattern!r}, not one")
    return found[0]


def _agree(onnx_path: Path, ort_path: Path, batch: Batch, arm: bool) -> None:
    """The conversion changed nothing: both files, run here with the same kernels, give the same outputs."""
    config = _ARM_INTEGERS if arm else None
    feeds = {name: tensor.numpy() for name, tensor in batch.items()}
    results: list[Sequence[object]] = []
    for path in (onnx_path, ort_path):
        loaded = session(path, config=config)
        wanted = {value.name for value in loaded.get_inputs()}
        results.append(loaded.run(None, {name: feed for name, feed in feeds.items() if name in wanted}))
    for ours, theirs in zip(*results, strict=True):
        a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        scale = float(np.sqrt(np.mean(np.square(np.nan_to_num(a))))) or 1.0
        if not np.allclose(a, b, rtol=0.0, atol=scale * _SAME_KERNELS, equal_nan=True):
            raise MismatchError("model.ort disagrees with model.onnx", where=ort_path.name)
