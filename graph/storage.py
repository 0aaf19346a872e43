"""A `Program` on disk: a `.pt2` archive of `torch.export`, never a pickle.

The archive holds the re-exported graph and, under `extra/program.json`, what `torch.export` does not keep: the
names of inputs and outputs, the names of dynamic dimensions, and whether the example is synthetic. Node metadata
under `custom` does not survive; `nn_module_stack` does. Saving and loading keeps `Program.hash()`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch
from torch.export import ExportedProgram

import compressor.quant.ops  # noqa: F401  registers the operators that a saved program may call
from compressor.errors import CaptureError, LoadError, OutputError, UntrustedError
from compressor.graph.archive import check_archive
from compressor.graph.capture import from_exported
from compressor.graph.lift import as_exported
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.graph.signature import TensorSpec

__all__ = ["load", "load_file", "save", "save_file"]

_SIDECAR = "program.json"
_VERSION = 1


def save(program: Program, path: str | Path) -> None:
    """Write `program` to `path`, whole or not at all; an existing file is replaced.

    Raises OutputError when it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            save_file(program, file)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", where=str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def save_file(program: Program, file: IO[bytes]) -> None:
    """Write `program` to an open binary file."""
    sidecar = {
        "version": _VERSION,
        "inputs": [spec.to_json() for spec in program.inputs],
        "outputs": [spec.to_json() for spec in program.outputs],
        "synthetic": program.synthetic,
    }
    exported, sink = as_exported(program), _Sink(file)
    with quiet():
        torch.export.save(exported, sink, extra_files={_SIDECAR: json.dumps(sidecar)})  # type: ignore[arg-type]
    if sink.error:
        raise sink.error


class _Sink:
    """Passes writes on and keeps the first error: torch's writer aborts the process when one is raised into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            if self.error is None:
                self.file.write(data)
        except OSError as error:
            self.error = error
        return len(data)

    def flush(self) -> None:
        self.write(b"")


def load(path: str | Path, *, trust: bool = False) -> Program:
    """The program in a `.pt2` archive, ours or any `torch.export` one.

    Without `trust` the archive is checked first and nothing of it is executed. Raises LoadError when it is missing,
    damaged or of another version, UntrustedError when reading it would execute code from it.
    """
    try:
        with Path(path).open("rb") as file:
            return load_file(file, str(path), trust=trust)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def load_file(file: IO[bytes], where: str, *, trust: bool = False) -> Program:
    """As `load`, from an open binary file; `where` is its name for messages."""
    if not trust:
        check_archive(file, where)
    extra = {_SIDECAR: ""}
    exported = _read(file, extra, where)
    exported._guards_code.clear()  # text that `.module()` could compile; Program checks its inputs itself
    try:
        program = from_exported(exported)
    except CaptureError as error:
        raise LoadError(error.what, where=where, way_out=error.way_out) from error
    except Exception as error:
        raise _unreadable(error, where) from error
    return _restored(program, extra[_SIDECAR], where) if extra[_SIDECAR] else program


def _read(file: IO[bytes], extra: dict[str, Any], where: str) -> ExportedProgram:
    try:
        with quiet():
            return torch.export.load(file, extra_files=extra)
    except UntrustedError:
        raise
    except Exception as error:  # torch raises many types on a file that does not fit
        raise _unreadable(error, where) from error


def _unreadable(error: Exception, where: str) -> LoadError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = lines[-1].strip()[:200] if lines else type(error).__name__
    return LoadError(
        f"torch.export cannot read it: {reason}",
        where=where,
        way_out=f"Export it again with torch {torch.__version__.split('+')[0]}: torch.export.save(program, path).",
    )


def _restored(program: Program, text: str, where: str) -> Program:
    """The program with the names it was saved with."""
    try:
        sidecar = json.loads(text)
        inputs = tuple(TensorSpec.from_json(spec) for spec in sidecar["inputs"])
        outputs = tuple(TensorSpec.from_json(spec) for spec in sidecar["outputs"])
        synthetic = bool(sidecar["synthetic"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"its {_SIDECAR} is damaged", where=where, way_out="Save the program again.") from error
    if not (_fit(inputs, program.inputs) and _fit(outputs, program.outputs)):
        raise LoadError(f"its {_SIDECAR} describes another program", where=where, way_out="Save the program again.")
    return replace(program, inputs=inputs, outputs=outputs, synthetic=synthetic)


def _fit(named: Sequence[TensorSpec], actual: Sequence[TensorSpec]) -> bool:
    """The same dtypes and fixed sizes, in the same order, under distinct names."""
    if len(named) != len(actual) or len({spec.name for spec in named}) != len(named):
        return False
    return all(_fits(ours, theirs) for ours, theirs in zip(named, actual, strict=True))


def _fits(named: TensorSpec, actual: TensorSpec) -> bool:
    if not isinstance(named.name, str) or named.dtype != actual.dtype or len(named.shape) != len(actual.shape):
        return False
    return all(
        ours == theirs if isinstance(theirs, int) else isinstance(ours, str)
        for ours, theirs in zip(named.shape, actual.shape, strict=True)
    )
