"""The most memory that this process has held, in bytes."""

from __future__ import annotations

import os
import sys

__all__ = ["peak_bytes"]


def peak_bytes(root: str = "/") -> int | None:
    """Resident set at its peak: VmHWM where the kernel tells it, else what getrusage says; None where neither does."""
    try:
        with open(os.path.join(root, "proc/self/status")) as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return _from_usage()
    return _from_usage()


def _from_usage() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
