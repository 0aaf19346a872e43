"""A bundle of TVM's as the job of its runner: golden vectors as raw arrays, which C++ reads without a library.

golden.npz ─▶ golden-0.raw …, and input-0.raw … of the batch that is timed; `serve`, a document of its own
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compressor.devices.batches import dynamic_inputs
from compressor.devices.tvm_runner import PROGRAM, TVM_RUNNER, tvm_document
from compressor.errors import LoadError
from compressor.export.verify import TIES, Contents

__all__ = ["architecture_of", "tvm_files", "tvm_job"]

_ARTIFACT, _SERVE = "model.so", "serve"
_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64", 0x28: "armv7l"}  # ELF's e_machine
_Array = np.ndarray[Any, Any]


def architecture_of(library: Path) -> str:
    """Which processors a shared library is for, as Linux calls them; "" for what is none, or for others."""
    with library.open("rb") as file:
        header = file.read(20)
    return _MACHINES.get(int.from_bytes(header[18:20], "little"), "") if header[:4] == b"\x7fELF" else ""


def tvm_job(bundle: Contents, folder: str, batch: int, threads: int) -> dict[str, Any]:
    """What the runner is told; for the runner in Python, which times others in turn, `worker` starts this one."""
    worker = {"program": f"{TVM_RUNNER.name}/{PROGRAM}", "document": f"{folder}/{_SERVE}"}
    return {**_job(bundle, f"{folder}/", batch, threads), "id": folder, "worker": worker, "providers": []}


def tvm_files(bundle: Contents, folder: Path, batch: int, threads: int) -> dict[str, Path]:
    """The files that are pushed; arrays are written into `folder` first."""
    files = {_ARTIFACT: bundle.path / _ARTIFACT}
    for _, array, file, _ in _arrays(bundle, batch):
        array.tofile(folder / file)
        files[file] = folder / file
    files[_SERVE] = folder / _SERVE
    files[_SERVE].write_text(
        tvm_document({"jobs": [{**_job(bundle, "", batch, threads), "id": "0"}]}), encoding="utf-8"
    )
    return files


def _job(bundle: Contents, prefix: str, batch: int, threads: int) -> dict[str, Any]:
    arrays = [
        [key, str(array.dtype), list(array.shape), prefix + file, name]
        for key, array, file, name in _arrays(bundle, batch)
    ]
    return {"model": prefix + _ARTIFACT, "threads": threads, "ties": TIES, "arrays": arrays}


def _arrays(bundle: Contents, batch: int) -> Iterator[tuple[str, _Array, str, str]]:
    """What it is, the array, its file and its name; inputs and outputs in the network's own order.

    Raises LoadError for a name that would be more than a line's rest.
    """
    for name in (*bundle.inputs, *bundle.outputs):
        if not name.isprintable():
            raise LoadError(f"{name!r} is no name of a tensor", where=str(bundle.path))
    dynamic = dynamic_inputs(bundle)
    for index, name in enumerate(bundle.inputs):
        array = bundle.golden[name]
        timed = array[np.arange(batch) % array.shape[0]] if name in dynamic else array
        yield "input", np.ascontiguousarray(timed), f"input-{index}.raw", name
        yield "golden-input", np.ascontiguousarray(array), f"golden-input-{index}.raw", name
    for index, name in enumerate(bundle.outputs):
        yield "golden-output", np.ascontiguousarray(bundle.golden[name]), f"golden-output-{index}.raw", name
