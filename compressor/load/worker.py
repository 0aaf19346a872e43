"""The child of `isolated.py`: sets its own limits, then loads and converts a TorchScript file."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from compressor.errors import CompressError, LoadError

__all__ = ["confine", "main"]

_LANDLOCK_CREATE, _LANDLOCK_RESTRICT, _NO_NEW_PRIVILEGES = 444, 446, 38  # the same numbers on every architecture
_WRITES = (1 << 1) | (0b111111111 << 4)  # write a file; remove and make directories, files, links, devices
_REFER_AND_TRUNCATE = {2: 1 << 13, 3: 1 << 14}  # since that version of Landlock


def main() -> None:
    """`worker PATH LIMITS`: inputs come on stdin, the answer goes to what was stdout."""
    path, limits = Path(sys.argv[1]), json.loads(sys.argv[2])
    answer = _take_stdout()
    import torch
    import torch._export.converter  # imported before confine(), since some of it looks for a folder to write in

    from compressor.graph import storage
    from compressor.load.script import convert_script

    tempfile.gettempdir()  # the same
    torch.set_num_threads(1)
    args, kwargs = torch.load(io.BytesIO(sys.stdin.buffer.read()), weights_only=False)  # the parent's own
    confine(limits)
    error, notes, archive = None, [], io.BytesIO()
    try:
        captured = convert_script(path, args, kwargs)
        storage.save_file(captured.program, archive)
        notes = list(captured.notes)
    except CompressError as failure:
        error = _described(failure)
    except MemoryError:
        error = _described(LoadError("needs more memory than an untrusted file is given", way_out="Pass --trust."))
    except Exception as failure:  # noqa: BLE001  the model's own code ran: whatever came of it is told
        error = _described(LoadError(f"cannot be loaded: {type(failure).__name__}: {str(failure)[:200]}"))
    answer.write(json.dumps({"error": error, "notes": notes}).encode() + b"\n")
    answer.write(archive.getbuffer())
    answer.flush()
    os._exit(0)


def confine(limits: dict[str, int]) -> None:
    """Bound further processor time and memory, and forbid writing files, for the rest of this process."""
    bounds = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(time.process_time()) + 1 + limits["cpu_seconds"],
        resource.RLIMIT_AS: _address_space() + limits["memory_bytes"],
    }
    for kind, bound in bounds.items():
        with contextlib.suppress(ValueError, OSError):  # macOS knows no bound on address space
            resource.setrlimit(kind, (bound, bound))
    _forbid_writing()


def _forbid_writing() -> None:
    """Landlock, where the kernel has it: no file can be opened for writing, truncated, made or removed."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return
    rights = _WRITES | sum(bit for since, bit in _REFER_AND_TRUNCATE.items() if version >= since)
    ruleset = ctypes.c_uint64(rights)
    handle = libc.syscall(_LANDLOCK_CREATE, ctypes.byref(ruleset), ctypes.c_size_t(8), ctypes.c_uint32(0))
    if handle >= 0:
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        libc.syscall(_LANDLOCK_RESTRICT, handle, ctypes.c_uint32(0))
        os.close(handle)


def _address_space() -> int:
    """Bytes that this process has mapped already; torch alone maps several gigabytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 16 << 30
    return pages * resource.getpagesize()


def _take_stdout() -> IO[bytes]:
    """The answer's own pipe; what the model prints goes nowhere."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answer


def _described(failure: CompressError) -> dict[str, Any]:
    return {
        "kind": type(failure).__name__, "what": failure.what, "where": failure.where, "way_out": failure.way_out,
    }  # fmt: skip
