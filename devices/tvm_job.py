"""A bundle of TVM's as the job of its runner: golden vectors as raw arrays, which C++ reads without a library.

golden.npz ─▶ golden-0.raw …, and input-0.raw … of the batch that is timed; `serve`, a document of its own
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.devices.batches import dynamic_inputs
from compressor.devices.decoder_job import answering, decoder_of, step_inputs
from compressor.devices.runner.inputs import drawn
from compressor.devices.tvm_runner import PROGRAM, TVM_RUNNER, tvm_document
from compressor.errors import LoadError
from compressor.export.verify import TIES, Contents
from compressor.graph.kv_cache import PRESENT, is_member
from compressor.graph.naming import BATCH, PAST, PAST_KEY_VALUES, SEQUENCE

__all__ = ["architecture_of", "tvm_files", "tvm_job"]

_ARTIFACT, _SERVE = "model.so", "serve"
_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64", 0x28: "armv7l"}  # ELF's e_machine
_WORDS = (BATCH, PAST, SEQUENCE)
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
    return {"model": prefix + _ARTIFACT, "threads": threads, "ties": TIES, "arrays": arrays, **_answers(bundle, batch)}


def _answers(bundle: Contents, batch: int) -> dict[str, Any]:
    """What a decoder is asked, its inputs as slots that are filled in their order."""
    decoder = decoder_of(bundle)
    if decoder is None:
        return {}
    plan, slots = answering(bundle, decoder, batch), []
    for spec in plan["inputs"]:
        kind, output = _kind(spec, plan["tokens"]), 0
        if kind == "past":
            output = bundle.outputs.index(PRESENT + spec["name"].removeprefix(PAST_KEY_VALUES))
        words = [size if isinstance(size, int) or size in _WORDS else "whole" for size in spec["shape"]]
        slots.append([kind, spec["dtype"], words, output, spec["name"]])
    figures = {name: plan[name] for name in ("batch", "read", "steps", "vocabulary")}
    return {"decoder": {**figures, "output": bundle.outputs.index(plan["scores"]), "slots": slots}}


def _kind(spec: Mapping[str, Any], tokens: str) -> str:
    """What an input is filled with, as `runner/decode.py` does."""
    if spec["name"] == tokens:
        return "tokens"
    if is_member(spec["name"]):
        return "past"
    if any(isinstance(size, str) and size not in _WORDS for size in spec["shape"]):
        return "ones"
    return "places" if "position" in spec["name"] else "zeros"


def _arrays(bundle: Contents, batch: int) -> Iterator[tuple[str, _Array, str, str]]:
    """What it is, the array, its file and its name; inputs and outputs in the network's own order.

    Raises LoadError for a name that would be more than a line's rest.
    """
    for name in (*bundle.inputs, *bundle.outputs):
        if not name.isprintable():
            raise LoadError(f"{name!r} is no name of a tensor", where=str(bundle.path))
    dynamic, decoder = dynamic_inputs(bundle), decoder_of(bundle)
    steps = {} if decoder is None else step_inputs(bundle, decoder, batch)
    for index, name in enumerate(bundle.inputs):
        array = bundle.golden[name]
        timed = array[np.arange(batch) % array.shape[0]] if name in dynamic else array
        timed = drawn(steps[name]) if name in steps else timed
        yield "input", np.ascontiguousarray(timed), f"input-{index}.raw", name
        yield "golden-input", np.ascontiguousarray(array), f"golden-input-{index}.raw", name
    for index, name in enumerate(bundle.outputs):
        yield "golden-output", np.ascontiguousarray(bundle.golden[name]), f"golden-output-{index}.raw", name
