"""The entry: a path to a `Loaded` model, whatever its suffix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compressor.load.kinds import Kind, detect
from compressor.load.loaded import Loaded

__all__ = ["load_model"]


def load_model(path: str | Path, *, factory: str | None = None, trust: bool = False) -> Loaded:
    """Load a model by its content, in eval mode on the CPU; nothing of the file is executed unless `trust`.

    `factory` is `file.py:function`, which builds the module for files that hold weights only. Raises LoadError
    (missing, damaged, does not fit, not finite), UntrustedError (would execute code), InputError (bad factory).
    """
    path = Path(path)
    kind = detect(path)
    loaded = _load(kind, path, factory, trust=trust)
    if factory and kind in (Kind.PT2, Kind.TORCHSCRIPT, Kind.HUGGING_FACE):
        loaded = replace(loaded, notes=(*loaded.notes, f"--model was not needed: {kind} holds the whole model"))
    return loaded


def _load(kind: Kind, path: Path, factory: str | None, *, trust: bool) -> Loaded:
    match kind:
        case Kind.PT2:
            from compressor.load.pt2 import load_pt2

            return load_pt2(path, trust=trust)
        case Kind.TORCHSCRIPT:
            from compressor.load.torchscript import load_torchscript

            return load_torchscript(path, trust=trust)
        case Kind.CHECKPOINT | Kind.LEGACY:
            from compressor.load.checkpoint import load_checkpoint

            return load_checkpoint(path, factory, trust=trust, zipped=kind is Kind.CHECKPOINT)
        case Kind.SAFETENSORS:
            from compressor.load.safetensors_file import load_safetensors

            return load_safetensors(path, factory)
        case Kind.HUGGING_FACE:
            from compressor.load.huggingface import load_huggingface

            return load_huggingface(path)
