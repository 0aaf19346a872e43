"""What `whole_decoders.py` compares, each in a process of its own: how it is made, and how it says token after token.

A process builds an artifact and ends; another loads it with its runtime and NumPy alone, so that its memory is theirs.
It reads 128 tokens, and is asked for turns then: the next few of the tokens behind them, one row each, greedily, up to
256 places, then again from the 128. The cache goes from run to run in the runtime's own tensors.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CONTESTANTS", "FIRST", "PLACES", "TURN", "Process", "build", "offered"]

FIRST, PLACES, TURN = 128, 256, 16  # read at once, the last place, tokens a turn
CONTESTANTS = {  # the format of the weights, and what runs it
    "tvm ternary": ("ternary", "tvm"),
    "ort custom op": ("ternary", "custom-op"),
    "ort ternary": ("ternary", "onnx"),
    "ort int4": ("int4", "onnx"),
    "ort fp32": ("fp32", "onnx"),
}
_CPU, _NAIVE, _LINE = 1, 1, 64  # DLPack's and TVM's numbers; bytes of a cache line
_CUSTOM = "compressor.export.custom_op"
Step = Callable[[Any, dict[str, Any]], tuple[np.ndarray, dict[str, Any]]]  # (ids, cache) → (scores of the last, cache)


def offered() -> list[str]:
    """Those that this version can make."""
    known = util.find_spec(_CUSTOM) is not None
    return [name for name, (_, how) in CONTESTANTS.items() if how != "custom-op" or known]


def build(name: str, size: str, folder: Path) -> None:
    """Make the artifact in `folder`, where it is not yet."""
    if (folder / "done").exists():
        return
    import torch
    from decoder_sizes import SIZES
    from models.llama import Llama, with_products

    from compressor.export.onnx import to_onnx
    from compressor.export.tvm import to_tvm
    from compressor.load import Loaded, to_program
    from compressor.targets import load_target
    from compressor.targets.tvm import with_runtime

    torch.manual_seed(0)
    format, how = CONTESTANTS[name]
    model = Llama(SIZES[size], format).eval()
    ids = torch.randint(0, SIZES[size].vocabulary, (2, 12))
    loaded = Loaded(size, "nn.Module", module=model)
    captured = to_program(loaded, (), {"ids": ids}, synthetic=True, kv_cache=True)
    if captured.notes:
        raise RuntimeError(captured.notes[0])
    program = with_products(captured.program)
    del model, loaded, captured
    target = with_runtime(load_target("host"), "tvm" if how == "tvm" else None)
    folder.mkdir(parents=True, exist_ok=True)
    if how == "tvm":
        to_tvm(program, target, folder / "model.so")
    elif how == "custom-op":
        library = importlib.import_module(f"{_CUSTOM}.library")
        program = library.packed_for(program, target)
        to_onnx(program, target).save(folder / "model.onnx")
        library.write_library(program, target, folder / "operators.so")
    else:
        to_onnx(program, target).save(folder / "model.onnx")
    (folder / "inputs").write_text("\n".join(spec.name for spec in program.inputs))
    (folder / "outputs").write_text("\n".join(spec.name for spec in program.outputs))
    (folder / "done").touch()


def serve(folder: Path, threads: int) -> None:
    """Load, print the megabytes of weights and of memory, then answer each line of stdin with a turn's part and its
    seconds."""
    before = _resident()
    names = tuple((folder / name).read_text().split("\n") for name in ("inputs", "outputs"))
    step, empty = (_tvm if (folder / "model.so").exists() else _onnx)(folder, *names, threads)
    scores, read = step(np.arange(FIRST)[None] % 500, empty)
    turns = _turns(step, int(scores.argmax()), read)
    next(turns)
    stored = sum(file.stat().st_size for file in folder.glob("model.*"))
    print(json.dumps({"stored": stored / 1e6, "resident": _resident(), "before": before}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(next(turns)), flush=True)


class Process:
    """`serve` in a process that has nothing else; `told` is what it says first."""

    def __init__(self, folder: Path, threads: int) -> None:
        limits = {**os.environ, "TVM_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=limits,
        )  # fmt: skip
        self.told: dict[str, float] = self._heard()

    def turn(self) -> tuple[int, float]:
        """Which part of the 128 tokens, and its seconds."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        part, seconds = self._heard()
        return part, seconds

    def close(self) -> None:
        self._process.communicate()

    def _heard(self) -> Any:
        """Raises RuntimeError where it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant has ended with {self._process.wait()}")
        return json.loads(line)


def _turns(step: Step, first: int, read: dict[str, Any]) -> Iterator[tuple[int, float]]:
    """(which part of the 128 tokens, seconds that it took), without end."""
    while True:
        token, cache = first, read
        for part in range((PLACES - FIRST) // TURN):
            began = time.perf_counter()
            for _ in range(TURN):
                scores, cache = step(np.array([[token]]), cache)
                token = int(scores.argmax())
            yield part, time.perf_counter() - began


def _tvm(folder: Path, inputs: list[str], outputs: list[str], threads: int) -> tuple[Step, dict[str, Any]]:
    """With TVM's runtime library alone: the package would load its compiler, and PyTorch."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # else tvm_ffi imports it
    import tvm_ffi

    [package] = util.find_spec("tvm").submodule_search_locations  # type: ignore[union-attr,misc]
    ctypes.CDLL(str(Path(package) / "lib" / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
    machine = tvm_ffi.load_module(str(folder / "model.so"))["vm_load_executable"]()
    machine["vm_initialization"](_CPU, 0, _NAIVE)
    main = machine["main"]

    def step(ids: np.ndarray, cache: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        found = list(main(tvm_ffi.from_dlpack(_aligned(ids.astype(np.int64))), *(cache[name] for name in inputs[1:])))
        return np.from_dlpack(found[0])[:, -1], dict(zip(inputs[1:], found[1:], strict=True))

    empty = tvm_ffi.from_dlpack(_empty(_shape(folder, inputs[1])))
    return step, dict.fromkeys(inputs[1:], empty)


def _aligned(array: np.ndarray) -> np.ndarray:
    """As compiled code may rely on."""
    raw = np.empty(array.nbytes + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    found = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def _empty(shape: tuple[int, ...]) -> np.ndarray:
    """Of no places, with the strides that TVM gives such a tensor."""
    strides = [4 * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return np.ndarray(shape, np.float32, _aligned(np.zeros(16, np.float32)), 0, strides)


def _onnx(folder: Path, inputs: list[str], outputs: list[str], threads: int) -> tuple[Step, dict[str, Any]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    if (folder / "operators.so").exists():
        options.register_custom_ops_library(str(folder / "operators.so"))
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def value(array: np.ndarray) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(array)

    def step(ids: np.ndarray, cache: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        found = session.run_with_ort_values(outputs, {inputs[0]: value(ids.astype(np.int64)), **cache})
        return found[0].numpy()[:, -1], dict(zip(inputs[1:], found[1:], strict=True))

    return step, {name: value(np.zeros(_shape(folder, name), np.float32)) for name in inputs[1:]}


def _shape(folder: Path, name: str) -> tuple[int, ...]:
    """Of an empty cache: `whole_decoders.py` puts the artifact into a folder of its size's name."""
    from decoder_sizes import SIZES

    size = SIZES[folder.parent.name]
    return 1, size.groups, 0, size.width // size.heads


def _resident() -> float:
    """Megabytes of memory that this process holds now."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
