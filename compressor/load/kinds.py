"""Which kind of model a path holds, told by its content.

    directory with config.json                       Hugging Face
    zip with models/*.json                           torch.export (.pt2)
    zip with constants.pkl                           TorchScript
    zip with data.pkl                                torch.save
    0x80                                             torch.save of old, a bare pickle
    8 bytes of length, then a JSON object            safetensors

(zip entries by their names without the first component). What another tool wrote is told by name.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import IO

from compressor.errors import LoadError, did_you_mean

__all__ = ["Kind", "detect", "read_json"]


class Kind(StrEnum):
    """What a path holds, in words for the user."""

    PT2 = "torch.export archive"
    TORCHSCRIPT = "TorchScript"
    CHECKPOINT = "torch.save file"
    LEGACY = "legacy torch.save file"
    SAFETENSORS = "safetensors"
    HUGGING_FACE = "Hugging Face directory"


_ZIP = b"PK\x03\x04"
_OTHERS: tuple[tuple[int, bytes, str], ...] = (  # offset, magic, what it is
    (0, b"\x89HDF\r\n\x1a\n", "a Keras (HDF5) model"),
    (0, b"GGUF", "a GGUF model"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "an ONNX Runtime (ORT format) model"),
    (0, b"\x93NUMPY", "a NumPy array"),
)
_FROM_TORCH = "Give the PyTorch model that it came from."


def detect(path: Path) -> Kind:
    """The kind of model at `path`. Raises LoadError when it is missing, empty or of no known kind."""
    where = str(path)
    try:
        if path.is_dir():
            return _directory(path)
        with path.open("rb") as file:
            head, size = file.read(64), os.fstat(file.fileno()).st_size
            if not head:
                raise LoadError("is empty", where=where, way_out="Save the model again.")
            return _file(file, head, size, path)
    except FileNotFoundError as error:
        raise LoadError("no such file", where=where, way_out=_neighbours(path)) from error
    except (OSError, ValueError) as error:
        raise LoadError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=where) from error


def _file(file: IO[bytes], head: bytes, size: int, path: Path) -> Kind:
    if head.startswith(_ZIP):
        return _zip(file, str(path))
    if head[0] == 0x80:
        return Kind.LEGACY
    if _is_safetensors(file, head, size):
        return Kind.SAFETENSORS
    what, way_out = _foreign(head, path)
    raise LoadError(what, where=str(path), way_out=way_out)


def _zip(file: IO[bytes], where: str) -> Kind:
    from compressor.graph.archive import zip_names

    file.seek(0)
    if _is_npz(file):
        raise LoadError("holds arrays, not a model", where=where, way_out="Pass data with --data.")
    names = zip_names(file, where)
    if any(re.fullmatch(r"models/.+\.json", name) for name in names):
        return Kind.PT2
    if "constants.pkl" in names:
        return Kind.TORCHSCRIPT
    if "data.pkl" in names:
        return Kind.CHECKPOINT
    raise LoadError(f"is a zip without a model; it holds {', '.join(names[:3])}", where=where, way_out=_KNOWN)


def _is_npz(file: IO[bytes]) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _is_safetensors(file: IO[bytes], head: bytes, size: int) -> bool:
    if len(head) < 10:
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return head[8:9] == b"{" and length <= size - 8


def _foreign(head: bytes, path: Path) -> tuple[str, str]:
    for offset, magic, what in _OTHERS:
        if head[offset:].startswith(magic):
            return f"is {what}", _FROM_TORCH
    if path.suffix == ".onnx" or re.match(rb"\x08[\x01-\x20](\x12|:|\x1a)", head):
        return "is an ONNX model; compress takes PyTorch models", _FROM_TORCH
    if path.suffix == ".py":
        return "is Python source", f"Pass the weights, and --model {path.name}:function for what builds the model."
    return "is not a model file: it is truncated, damaged or of an unknown kind", _KNOWN


_KNOWN = f"Known are: {', '.join(Kind)}."


def _directory(path: Path) -> Kind:
    config = path / "config.json"
    if config.is_file():
        return Kind.HUGGING_FACE
    if (path / "manifest.json").is_file() and (path / "golden.npz").is_file():
        raise LoadError("is a bundle, not a model", where=str(path), way_out=f"Check it with: compress verify {path}")
    if (path / "saved_model.pb").is_file():
        raise LoadError("is a TensorFlow model", where=str(path), way_out=_FROM_TORCH)
    raise LoadError("is a directory without config.json", where=str(path), way_out=_KNOWN)


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}."
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    return did_you_mean(path.name, names[:1000]) if 0 < len(names) <= 20 else f"Look into the folder {path.parent}"


def read_json(path: Path, limit: int = 16 << 20) -> dict[str, object]:
    """A JSON object from a file of bounded size. Raises LoadError when it is anything else."""
    try:
        if path.stat().st_size > limit:
            raise LoadError(f"has more than {limit:,} bytes", where=str(path))
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError("is not readable JSON", where=str(path), way_out="Save the model again.") from error
    if not isinstance(data, dict):
        raise LoadError("is not a JSON object", where=str(path), way_out="Save the model again.")
    return data
