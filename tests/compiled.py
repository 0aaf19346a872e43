"""Networks compiled with TVM for tests, which skip where that cannot be done here."""

from __future__ import annotations

import importlib.util
import platform
import shutil

import pytest

from compressor.targets import Target, load_target
from compressor.targets.machine import this_machine
from compressor.targets.tvm import with_runtime

__all__ = ["needs_tvm", "tvm_target"]


def _lacking() -> str:
    """Why nothing can be compiled here, or ""."""
    if platform.machine() != "x86_64" or not {"avx2", "fma"} <= this_machine().features:
        return "compiles for x86-64 with AVX2, which this machine is not"
    if importlib.util.find_spec("tvm") is None:
        return "needs apache-tvm (the tvm extra)"
    return "" if shutil.which("g++") else "needs g++"


def needs_tvm() -> None:
    """Skips the test that calls it where there is no TVM or no compiler."""
    if reason := _lacking():
        pytest.skip(reason)


def tvm_target() -> Target:
    """Any x86-64 board, with TVM; nothing is timed for it here."""
    return with_runtime(load_target("x86-64"), "tvm")
