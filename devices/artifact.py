"""What of a bundle goes to a board, by kind of artifact: the files that are pushed, and the runner's job.

A kind is a line in `KINDS`: the file by which a bundle is known to hold it, the runner that is pushed, and the job that
this runner is given. The first kind that all bundles of a call hold is taken, for they are timed by one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.devices.named import named_target
from compressor.devices.remote import RUNNER
from compressor.export.session import EXACT_FLOATS, EXACT_INTEGERS
from compressor.export.verify import TIES, Contents
from compressor.targets import HOST

__all__ = ["KINDS", "Kind", "kind_of", "rows"]


@dataclass(frozen=True)
class Kind:
    """One kind of artifact. `job` makes the runner's job of (bundle, folder there, batch, threads)."""

    artifact: str
    runner: Path
    job: Callable[[Contents, str, int, int], dict[str, Any]]

    def files(self, bundle: Contents) -> dict[str, Path]:
        """The artifact with its weights, and the golden vectors."""
        names = [name for name in bundle.digests if name == self.artifact or name.startswith(f"{self.artifact}.")]
        return {name: bundle.path / name for name in (*names, "golden.npz")}


def kind_of(bundles: Sequence[Contents]) -> Kind:
    """The kind that all of them hold."""
    return next(kind for kind in KINDS if all(kind.artifact in bundle.digests for bundle in bundles))


def rows(bundle: Contents, batch: int) -> int:
    """Samples in one timed run: `batch` where the first dimension is dynamic, else what the model has fixed."""
    dynamic = _dynamic(bundle)
    for name in bundle.inputs:
        array = bundle.golden[name]
        if array.ndim:
            return batch if name in dynamic else int(array.shape[0])
    return 1


def _onnx_job(bundle: Contents, folder: str, batch: int, threads: int) -> dict[str, Any]:
    dynamic, npz = _dynamic(bundle), f"{folder}/golden.npz"
    inputs = {name: {"npz": npz, **({"batch": batch} if name in dynamic else {})} for name in bundle.inputs}
    return {
        "id": folder, "model": f"{folder}/model.onnx", "inputs": inputs, "threads": threads,
        "providers": _providers(bundle.manifest.get("target")),
        "golden": {
            "npz": npz, "inputs": list(bundle.inputs), "outputs": list(bundle.outputs), "ties": TIES,
            # as `compress verify` runs it; some models do not load with exact integers
            "configs": [{**EXACT_INTEGERS, **EXACT_FLOATS}, dict(EXACT_FLOATS)],
        },
    }  # fmt: skip


def _dynamic(bundle: Contents) -> set[str]:
    """Inputs whose first dimension may be any size."""
    entries: Sequence[Mapping[str, Any]] = bundle.manifest["inputs"]
    shapes = {str(entry["name"]): entry.get("shape") for entry in entries}
    return {name for name, shape in shapes.items() if isinstance(shape, list) and shape and isinstance(shape[0], str)}


def _providers(target: Any) -> list[str]:
    """What the target's runtime runs it on; the processor alone for `host` (which was another machine) or a private
    board, whose file is not here."""
    found = None if target == HOST else named_target(target)
    return [] if found is None else [provider.name for provider in found.providers]


KINDS: tuple[Kind, ...] = (Kind("model.onnx", RUNNER, _onnx_job),)
