"""The bundle: one folder with the artifact, its manifest, golden vectors, recipe and report.

    model.onnx [model.onnx.data] model.ort model.required_operators.config, or with --pack model.onnx.pack
    model-ENTRY.onnx  a smaller model over model.onnx.data, where the bundle has entries
    manifest.json   what it is, and `files: {name: {sha256, bytes}}` of everything beside it
    golden.npz      inputs and outputs by name, the outputs computed in PyTorch; the original's under `original/NAME`,
                    those of an entry under `entries/ENTRY/NAME`
    recipe.toml report.json report.html

`export/verify.py` checks one.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.export.atomic import new_folder
from compressor.export.entry_view import golden_name
from compressor.export.verify import Verification, verify_bundle
from compressor.graph.contract import Batch
from compressor.graph.program import Program

__all__ = ["FORMAT", "Content", "Verification", "default_name", "golden", "verify_bundle", "write_bundle"]

FORMAT = 1
Content = bytes | Path | Callable[[Path], None]


def write_bundle(out: Path, *, force: bool, files: Mapping[str, Content], manifest: Mapping[str, Any]) -> Path:
    """Write all files (bytes, a file to copy, or what writes to a path) and the manifest, or nothing at all.

    An existing bundle is replaced only with `force`, in one step. Raises OutputError when it cannot be written.
    """
    with new_folder(out, force=force) as folder:
        entries = {}
        for name, content in files.items():
            path = folder / _checked(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(content, path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            entries[name] = {"sha256": digest, "bytes": path.stat().st_size}
        whole = {"format": FORMAT, **manifest, "files": entries}
        (folder / "manifest.json").write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n")
    return out


def default_name(model: str, target: str) -> str:
    """`<model>-<target>`, with what file systems dislike replaced."""
    return re.sub(r"[^\w.+-]+", "_", f"{model}-{target}").lstrip(".-") or "bundle"


def golden(program: Program, original: Program, batch: Batch, entries: Mapping[str, Program] | None = None) -> bytes:
    """An `.npz` of one batch: inputs, the program's outputs, the original's under `original/NAME`, and those of smaller
    programs over the same inputs under `entries/ENTRY/NAME`."""
    arrays = {spec.name: tensor for spec, tensor in zip(program.inputs, program.flatten(batch), strict=True)}
    arrays |= program.run(batch)
    arrays |= {f"original/{name}": tensor for name, tensor in original.run(batch).items()}
    for each, smaller in (entries or {}).items():
        arrays |= {golden_name(each, name): tensor for name, tensor in smaller.run(batch).items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, tensor in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # without a date: the same bytes each time
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, _array(tensor), allow_pickle=False)
    return buffer.getvalue()


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """NumPy has no bfloat16; float32 holds each of its values."""
    plain = tensor.detach().cpu().contiguous()
    array: np.ndarray[Any, Any] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name == "manifest.json":
        raise ValueError(f"no name for a file of a bundle: {name!r}")
    return path


def _put(content: Content, path: Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        content(path)
