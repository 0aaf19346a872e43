"""safetensors: a JSON header and raw tensors, nothing to execute. The model's code comes from `--model`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from compressor.errors import LoadError
from compressor.load.checkpoint import module_with_weights
from compressor.load.factory import needed
from compressor.load.loaded import Loaded

__all__ = ["load_safetensors", "read_tensors"]


def load_safetensors(path: Path, factory: str | None) -> Loaded:
    """The factory's module with the file's weights. Raises LoadError when it is damaged or does not fit."""
    if factory is None:
        raise needed(str(path), "weights")
    module = module_with_weights(read_tensors(path), factory, str(path))
    return Loaded(path.stem, "safetensors", module=module)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name. Raises LoadError when the header lies or the extra is not installed."""
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise LoadError(
            "safetensors files need the package safetensors",
            where=str(path),
            way_out='Install it with: pip install "edge-compressor[safetensors]"',
        ) from error
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except Exception as error:  # the reader raises its own type, KeyError and RuntimeError
        raise LoadError(
            f"is a damaged safetensors file: {str(error).splitlines()[0][:200]}",
            where=str(path),
            way_out="Copy it or save it again.",
        ) from error
    return tensors
