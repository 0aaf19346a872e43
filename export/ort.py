"""ORT format, which ONNX Runtime's minimal mobile builds load, and the list of operators that such a build needs.

ONNX Runtime's own converter does both, in a process of its own: it needs memory for the model twice over, and all of
it goes back when it ends. "amd64" is never asked for: it writes NCHWc
nodes, which fail everywhere else. Where convolutions share a weight, what follows each is not fused into it: the file
would hold the weight once a convolution. Nor is a weight stored twice that is read both as it is and transposed, as the
table of a tied output layer is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from compressor.errors import ExportError, MismatchError
from compressor.export.onnx_reference import mapped
from compressor.export.session import session
from compressor.graph.contract import Batch
from compressor.targets.target import Target

__all__ = ["ORT_LIMIT", "Converted", "same_outputs", "to_ort"]

ORT_LIMIT = 2**31 - 1  # offsets in the file are 32-bit
_COMPILING = {"NnapiExecutionProvider", "CoreMLExecutionProvider", "QNNExecutionProvider", "XnnpackExecutionProvider"}
_SAME_KERNELS = 1e-3  # of the output's RMS: both files run the same kernels, at most fused differently
_CONVS = ("Conv", "ConvTranspose")
_INTO_CONVS = ("ConvBNFusion", "ConvMulFusion", "ConvAddFusion")
_FOLDING = ("ConstantFolding",)
_CONVERTER = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # onnxruntime.tools imports it where it can, for seconds, and does not use it here
import onnxruntime
from onnxruntime.tools import convert_onnx_models_to_ort as tool
session = onnxruntime.InferenceSession
source, folder, style, platform, *disabled = sys.argv[1:]
def lean(path, sess_options, **options):
    sess_options.add_session_config_entry("session.disable_prepacking", "1")  # nothing runs; saves a copy
    if disabled:
        options["disabled_optimizers"] = [*(options.get("disabled_optimizers") or []), *disabled]
    return session(path, sess_options=sess_options, **options)
onnxruntime.InferenceSession = lean
tool.convert_onnx_models_to_ort(
    Path(source), Path(folder), [tool.OptimizationStyle[style]],
    target_platform=platform or None, enable_type_reduction=True,
)
"""
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
    with tempfile.TemporaryDirectory(dir=onnx_path.parent) as folder, mapped(onnx_path) as source:
        _convert(source, Path(folder), "Runtime" if compiling else "Fixed", arm)
        model = onnx_path.with_suffix(".ort")
        config = onnx_path.with_suffix(".required_operators.config")
        _only(Path(folder), "*.ort").replace(model)
        lines = _only(Path(folder), "*.config").read_text().splitlines()
        config.write_text("\n".join(line for line in lines if not line.startswith("#")) + "\n")
    if batch is not None and not same_outputs(onnx_path, model, batch):
        raise MismatchError(f"{model.name} disagrees with {onnx_path.name}", where=model.name)
    return Converted((model, config))


def _copying(source: Path) -> tuple[str, ...]:
    """The runtime's rewrites that would write a weight once more: a batch norm into each convolution that reads it, its
    transpose beside it. Without the second a product reads the weight as it lies, which costs nothing."""
    try:
        graph = onnx.load(source, load_external_data=False).graph
    except DecodeError:
        return ()  # the converter says what is wrong with it
    stored = {tensor.name for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input if name in stored)
    several = {name for name, count in uses.items() if count > 1}
    convs = any(node.op_type in _CONVS and node.input[1] in several for node in graph.node)
    constants = _constants(graph, stored)
    turned = all(n.op_type == "Transpose" for n in constants) and any(n.input[0] in several for n in constants)
    return (*(_INTO_CONVS if convs else ()), *(_FOLDING if turned else ()))


def _constants(graph: onnx.GraphProto, stored: set[str]) -> list[onnx.NodeProto]:
    """The nodes that depend on no input: they are to be computed now, not in every run."""
    known, found = set(stored), []
    for node in graph.node:
        if all(name in known for name in node.input if name):
            known.update(node.output)
            found += [node] if node.op_type != "Constant" else []
    return found


def _convert(source: Path, folder: Path, style: str, arm: bool) -> None:
    command = [
        sys.executable,
        "-c",
        _CONVERTER,
        str(source),
        str(folder),
        style,
        "arm" if arm else "",
        *_copying(source),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if "rror" in line]
        reason = lines[-1].strip() if lines else f"it ended with status {result.returncode}"
        reason = reason.replace(str(source), source.name)
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} cannot convert it to ORT format: {reason}")


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise ExportError(f"ONNX Runtime's converter wrote {len(found)} files like {pattern!r}, not one")
    return found[0]


def same_outputs(onnx_path: Path, ort_path: Path, batch: Batch) -> bool:
    """Whether both files give the same outputs here with the same kernels, for Arm's handling of integers or x86's."""
    converted = _run(ort_path, batch, None)
    return any(_close(_run(onnx_path, batch, config), converted) for config in (None, _ARM_INTEGERS))


def _run(path: Path, batch: Batch, config: Mapping[str, str] | None) -> list[np.ndarray[Any, Any]]:
    """The outputs, with what the integer kernels of this processor make of them."""
    loaded = session(path, config=config)
    try:
        feed = {value.name: batch[value.name].detach().contiguous().numpy() for value in loaded.get_inputs()}
        return [np.asarray(value) for value in loaded.run(None, feed)]
    except Exception as error:  # each status of the runtime is a class of its own, all from Exception
        raise ExportError(f"ONNX Runtime fails on it: {str(error).splitlines()[0]}", where=path.name) from error


def _close(ours: list[np.ndarray[Any, Any]], theirs: list[np.ndarray[Any, Any]]) -> bool:
    def near(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
        if a.shape != b.shape:
            return False
        x, y = a.astype(np.float64), b.astype(np.float64)
        scale = float(np.linalg.norm(np.nan_to_num(x, posinf=0.0, neginf=0.0)))
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        return float(np.linalg.norm(np.where(same, 0.0, x - y))) <= _SAME_KERNELS * scale

    return len(ours) == len(theirs) and all(near(a, b) for a, b in zip(ours, theirs, strict=True))
