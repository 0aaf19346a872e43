"""What of a bundle goes to a board, by kind of artifact: the files that are pushed, and the runner's job.

A kind is a line in `KINDS`: the file by which a bundle is known to hold it, the runner that is pushed, and the files
and the job that this runner is given. A bundle is of the first kind that it holds; one that holds several is several.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compressor.devices.batches import dynamic_inputs
from compressor.devices.decoder_job import answering, decoder_of, step_inputs
from compressor.devices.named import named_target
from compressor.devices.runners import PYTHON, Runner
from compressor.devices.tvm_job import tvm_files, tvm_job
from compressor.devices.tvm_runner import TVM_RUNNER
from compressor.errors import LoadError
from compressor.export.session import EXACT_FLOATS, EXACT_INTEGERS, OPERATORS
from compressor.export.tvm_linking import BUILD
from compressor.export.verify import LIBRARY, PACKED, TIES, Contents, unpacked
from compressor.targets import HOST

__all__ = ["KINDS", "Kind", "kind_of", "parts_of"]


@dataclass(frozen=True)
class Kind:
    """One kind of artifact. `job` makes the runner's job of (bundle, folder there, batch, threads), `files` by their
    names there what is pushed of (bundle, folder here for what has to be written first, batch, threads)."""

    artifact: str
    runner: Runner
    job: Callable[[Contents, str, int, int], dict[str, Any]]
    files: Callable[[Contents, Path, int, int], dict[str, Path]]


def kind_of(bundle: Contents) -> Kind:
    """The first kind that it holds."""
    return next(kind for kind in KINDS if kind.artifact in bundle.digests)


def parts_of(bundle: Contents) -> tuple[Contents, ...]:
    """The bundle once for each kind that it holds. Raises LoadError where it holds none that runs as it is."""
    kinds = [kind.artifact for kind in KINDS if kind.artifact in bundle.digests]
    if not kinds:
        raise LoadError(
            f"holds objects that are not linked yet: sh {BUILD} makes a library of them on the board",
            where=str(bundle.path), way_out="`python3 compiled.py BUNDLE`, of devices/runner/, runs that one there.",
        )  # fmt: skip
    return tuple(_alone(bundle, kind, {*kinds} - {kind}) for kind in kinds)


def _alone(bundle: Contents, kind: str, others: set[str]) -> Contents:
    """With one of its artifacts; what was predicted beside a model is the model's."""
    digests = {name: digest for name, digest in bundle.digests.items() if name not in others}
    of_others = {"predicted"} if others and kind == LIBRARY else set()
    manifest = {name: value for name, value in bundle.manifest.items() if name not in of_others}
    return replace(bundle, digests=digests, manifest=manifest)


def _onnx_files(bundle: Contents, folder: Path, batch: int, threads: int) -> dict[str, Path]:
    """The model with its weights and operators, and the golden vectors."""
    own = ("model.onnx", OPERATORS)
    names = [name for name in bundle.digests if name in own or name.startswith("model.onnx.")]
    files = {name: bundle.path / name for name in (*names, "golden.npz")}
    if bundle.entry:
        files |= {"model.onnx": bundle.path / bundle.model, "golden.npz": folder / "golden.npz"}
        arrays: dict[str, Any] = dict(bundle.golden)  # under the names that the entry's model has
        np.savez(folder / "golden.npz", **arrays)
    return files


def _packed_files(bundle: Contents, folder: Path, batch: int, threads: int) -> dict[str, Path]:
    """The model as an installed bundle has it: it is unpacked here."""
    model = folder / "model.onnx"
    with unpacked(bundle.path / PACKED) as found:
        shutil.copyfile(found, model)
    return {"model.onnx": model, "golden.npz": bundle.path / "golden.npz"}


def _onnx_job(bundle: Contents, folder: str, batch: int, threads: int) -> dict[str, Any]:
    dynamic, npz = dynamic_inputs(bundle), f"{folder}/golden.npz"
    inputs: dict[str, dict[str, Any]]
    inputs = {name: {"npz": npz, **({"batch": batch} if name in dynamic else {})} for name in bundle.inputs}
    decoder, answers = decoder_of(bundle), {}
    if decoder is not None:
        inputs, answers = step_inputs(bundle, decoder, batch), {"decoder": answering(bundle, decoder, batch)}
    return {
        "id": folder, "model": f"{folder}/model.onnx", "inputs": inputs, "threads": threads,
        "providers": _providers(bundle.manifest.get("target")),
        **({"operators": f"{folder}/{OPERATORS}"} if OPERATORS in bundle.digests else {}),
        "golden": {
            "npz": npz, "inputs": list(bundle.inputs), "outputs": list(bundle.outputs), "ties": TIES,
            # as `compress verify` runs it; some models do not load with exact integers
            "configs": [{**EXACT_INTEGERS, **EXACT_FLOATS}, dict(EXACT_FLOATS)],
        },
        **answers,
    }  # fmt: skip


def _providers(target: Any) -> list[str]:
    """What the target's runtime runs it on; the processor alone for `host` (which was another machine) or a private
    board, whose file is not here."""
    found = None if target == HOST else named_target(target)
    return [] if found is None else [provider.name for provider in found.providers]


KINDS: tuple[Kind, ...] = (
    Kind("model.onnx", PYTHON, _onnx_job, _onnx_files),
    Kind(PACKED, PYTHON, _onnx_job, _packed_files),
    Kind(LIBRARY, TVM_RUNNER, tvm_job, tvm_files),
)
