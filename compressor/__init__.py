"""Compile a trained PyTorch model into a small, fast, verified artifact for one named edge board.

import compressor
outcome = compressor.compress("model.pt", target="jetson", data="data.npz")
outcome.report.after.file_bytes
compressor.compress_all("jobs.toml", shard="1/8").exit_code
compressor.front("model.pt", target="jetson", data="data.npz").points
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.api import compress as compress
    from compressor.api import compress_all as compress_all
    from compressor.api import front as front

__all__ = ["compress", "compress_all", "front"]


os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any import of the runtime, which would send usage data
# TVM binds the thread that calls it to as many cores as it runs on, and all that is started later inherits that:
# a training, or ONNX Runtime on two threads, would stay on one core.
os.environ.setdefault("TVM_BIND_THREADS", "0")


def __getattr__(name: str) -> Any:
    """Functions are imported on first use, so that importing the package loads no torch."""
    if name in __all__:
        from compressor import api

        return getattr(api, name)
    raise AttributeError(f"module 'compressor' has no attribute {name!r}")
