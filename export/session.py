"""ONNX Runtime on this machine's processor: sessions, and a model file as a function of named tensors."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from compressor.errors import CompressError, ExportError, UnsupportedError
from compressor.export.separate import separated

__all__ = [
    "EXACT_FLOATS", "EXACT_INTEGERS", "LARGE", "OPERATORS", "Runner", "give_back_memory", "operators_of", "runner",
    "session",
]  # fmt: skip

Runner = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

# On x86 without VNNI the u8×s8 kernels add pairs of products in 16 bits, which saturate (23% error was seen on a
# linear layer); with this the runtime takes its u8×u8 kernels instead, which do not.
EXACT_INTEGERS = {"session.x64quantprecision": "1"}

# The runtime fuses an int8 weight's DequantizeLinear into its matrix product and, unless told otherwise, rounds that
# product's activations to int8 as well: 1–2% off the float result. With this it computes in float.
EXACT_FLOATS = {"session.qdq_matmulnbits_accuracy_level": "1"}

LARGE = 2**26  # bytes of a file from which copies of its weights are avoided
OPERATORS = "model_ops.so"  # a model's own library of operators, beside it


def operators_of(path: Path) -> Path | None:
    """The library of operators beside a model, or None where it has none. Loading it runs code that is in it: only what
    was made here, or what the user trusts, is loaded."""
    library = path.with_name(OPERATORS)
    return library if library.is_file() else None


def session(
    path: Path,
    threads: int | None = None,
    *,
    optimize: bool = True,
    spinning: bool = True,
    arena: bool = True,
    config: Mapping[str, str] | None = None,
    operators: Path | None = None,
    content: bytes | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU provider; `threads` None leaves their number to the runtime.

    `content` is what to load in place of what is in the file; `operators` is a library that brings operators of its
    own (`operators_of`).

    Raises UnsupportedError when the runtime has no kernel for an operator, ExportError when it cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    if threads is not None:
        options.intra_op_num_threads = threads
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    try:
        if operators is not None:
            options.register_custom_ops_library(str(operators))
        return onnxruntime.InferenceSession(content or str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding raises a class of its own for each status, all from Exception
        raise _load_failure(error, path) from error


def runner(
    path: Path, threads: int | None = None, *, optimize: bool = True, exact: bool = True, approximate: bool = False,
    operators: Path | None = None,
) -> Runner:  # fmt: skip
    """The model file as a function from a batch to its outputs by name.

    `exact` keeps integer kernels from saturating, as boards' kernels do not; without it they run as this processor
    runs them. `approximate` keeps the runtime's own rounding in products with int8 weights, as an application has it.
    `operators` as in `session`. Raises what `session` does, and ExportError when a run fails.
    """
    config = {**(EXACT_INTEGERS if exact else {}), **({} if approximate else EXACT_FLOATS)}
    if path.stat().st_size > LARGE and not _has_blocks(path):
        config["session.disable_prepacking"] = "1"
    loaded = _loaded(path, threads, optimize, config, operators)
    names = [value.name for value in loaded.get_inputs()]
    outputs = [value.name for value in loaded.get_outputs()]

    def run(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if missing := [name for name in names if name not in batch]:
            raise ExportError(f"nothing is given for its input {missing[0]!r}", where=path.name)
        feed = {name: batch[name].detach().cpu().contiguous().numpy() for name in names}
        try:
            results = loaded.run(outputs, feed)
        except Exception as error:  # as above
            raise ExportError(f"ONNX Runtime fails on it: {_first_line(error)}", where=path.name) from error
        return {name: torch.from_numpy(np.array(value)) for name, value in zip(outputs, results, strict=True)}

    return run


def _has_blocks(path: Path) -> bool:
    """Whether weights are stored in blocks of few bits: without prepacking those products run in float instead."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"MatMulNBits") >= 0


def _loaded(path: Path, threads: int | None, optimize: bool, config: dict[str, str], operators: Path | None) -> Any:
    """With exact integers where the runtime manages them: of a constant that two nodes share where it is copied."""
    load = partial(session, path, threads, optimize=optimize, operators=operators)
    try:
        return load(config=config)
    except ExportError:
        rest = {key: value for key, value in config.items() if key not in EXACT_INTEGERS}
        if rest == config:
            raise
    if content := separated(path):
        with contextlib.suppress(ExportError):  # then it is for another reason
            return load(config=config, content=content)
    return load(config=rest)


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what a closed session held, once the model's size over."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _load_failure(error: Exception, path: Path) -> CompressError:
    reason = _first_line(error).replace(str(path), path.name)
    if type(error).__name__ == "NotImplemented":
        return UnsupportedError(f"ONNX Runtime has no kernel: {reason}", where=path.name)
    return ExportError(f"ONNX Runtime cannot load it: {reason}", where=path.name)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
