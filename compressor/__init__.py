"""Compile a trained PyTorch model into a small, fast, verified artifact for one named edge board.

import compressor
outcome = compressor.compress("model.pt", target="jetson", data="data.npz")
outcome.report.after.file_bytes
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.api import compress as compress

__all__ = ["compress"]


os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any import of the runtime, which would send usage data


def __getattr__(name: str) -> Any:
    """`compress` is imported on first use, so that importing the package loads no torch."""
    if name == "compress":
        from compressor.api import compress

        return compress
    raise AttributeError(f"module 'compressor' has no attribute {name!r}")
