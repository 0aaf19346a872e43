"""TVM as every part of this project loads it: with as many threads as there are processors for it.

Where neither TVM_NUM_THREADS nor OMP_NUM_THREADS says how many, TVM takes every second processor for a twin of the one
before, keeps to the others, and hands even the work of one thread to another one, which takes 6 µs to wake.
"""

from __future__ import annotations

import os
from typing import Any

from compressor.graph.quiet import quiet

__all__ = ["loaded_tvm"]

_TOLD = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")


def loaded_tvm() -> Any:
    """The package. Raises ImportError or OSError where it is not installed, or does not load."""
    if not any(os.environ.get(name) for name in _TOLD):
        os.environ[_TOLD[0]] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    with quiet():
        import tvm
    return tvm
