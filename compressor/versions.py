"""Versions of everything that decides a result, without importing any of it."""

from __future__ import annotations

import platform
from importlib import metadata

__all__ = ["versions"]

_NAMES = ("edge-compressor", "torch", "onnx", "onnxscript", "onnxruntime", "apache-tvm", "numpy")


def versions() -> dict[str, str]:
    """Distribution → version; those that are not installed are absent."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
