"""Converts an untrusted TorchScript file in a short-lived process with limits.

    parent ── inputs on stdin ──▶ child: limits set, then the file is loaded and converted
    parent ◀── one line of JSON, then a .pt2 archive, on stdout

The child may use so much processor time and memory, write no file, and open none for writing where the kernel can
forbid it (Landlock). What it sends is as untrusted as the file: the line is checked here, the archive by
`graph/archive.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from compressor.errors import CaptureError, InputError, LoadError, UntrustedError
from compressor.graph.capture import Captured

__all__ = ["Limits", "run_isolated"]

_ERRORS = {kind.__name__: kind for kind in (LoadError, CaptureError, InputError)}
_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 16
_TRUST = "Pass --trust, which converts it without limits, only if you trust where the file comes from."


@dataclass(frozen=True)
class Limits:
    """What the child may use, beyond a bare torch: processor seconds and bytes of memory; and wall-clock seconds."""

    cpu_seconds: int = 600
    wall_seconds: int = 600
    memory_bytes: int = 4 << 30


def run_isolated(
    path: Path, args: Sequence[Any], kwargs: Mapping[str, Any], *, synthetic: bool, limits: Limits | None = None
) -> Captured:
    """Convert the file with these inputs. Raises what the conversion raises, and LoadError at a limit."""
    if sys.platform == "win32":
        raise UntrustedError("TorchScript runs code, and Windows cannot confine it", where=str(path), way_out=_TRUST)
    size = path.stat().st_size
    limits = limits or Limits(memory_bytes=Limits.memory_bytes + 8 * size)
    with tempfile.TemporaryFile() as answer:
        line, returncode, late = _exchange(_start(path, limits), _packed(args, kwargs), answer, limits, 4 * size)
        where = str(path)
        if late:
            raise LoadError(f"took more than {limits.wall_seconds} s to load and convert", where=where, way_out=_TRUST)
        notes = _notes(line, returncode, where)
        from compressor.graph import storage

        answer.seek(0)
        program = storage.load_file(answer, where)
    from dataclasses import replace

    return Captured(replace(program, synthetic=synthetic), notes)


def _start(path: Path, limits: Limits) -> subprocess.Popen[bytes]:
    code = "from compressor.load.worker import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-B", "-W", "ignore", "-c", code, str(path.resolve()), json.dumps(asdict(limits))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, cwd=tempfile.gettempdir(),
    )  # fmt: skip


def _packed(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save((tuple(args), dict(kwargs)), buffer)
    return buffer.getvalue()


def _exchange(
    child: subprocess.Popen[bytes], inputs: bytes, answer: IO[bytes], limits: Limits, size: int
) -> tuple[bytes, int, bool]:
    """The child's line, its exit status and whether it ran out of time; the archive goes to `answer`."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(limits.wall_seconds, stop)
    timer.start()
    line = b""
    try:
        if child.stdin is None or child.stdout is None:
            raise OSError("the child has no pipes")
        with contextlib.suppress(BrokenPipeError):  # it died early; its exit status tells
            child.stdin.write(inputs)
            child.stdin.close()
        line = child.stdout.readline(_LONGEST_LINE)
        left = size + (256 << 20)
        while left > 0 and (chunk := child.stdout.read(min(_CHUNK, left))):
            answer.write(chunk)
            left -= len(chunk)
        _wait(child)
    finally:
        timer.cancel()
        child.kill()  # nothing, when it has ended
        for pipe in (child.stdin, child.stdout):
            if pipe:
                _close(pipe)
    return line, child.wait(), late.is_set()


def _wait(child: subprocess.Popen[bytes]) -> None:
    """Its own end, for the exit status; one that answered and lingers is killed by the caller."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _notes(line: bytes, returncode: int, where: str) -> tuple[str, ...]:
    try:
        answer = json.loads(line)
        error, notes = answer["error"], [str(note) for note in answer["notes"]]
        if error:
            kind, what, place, way_out = (str(error[key]) for key in ("kind", "what", "where", "way_out"))
    except (ValueError, KeyError, TypeError, RecursionError) as failure:
        raise LoadError(
            f"was stopped while loading and converting it (status {returncode}): it exceeded its limits or crashed",
            where=where,
            way_out=_TRUST,
        ) from failure
    if error:
        raise _ERRORS.get(kind, LoadError)(what, where=place or where, way_out=way_out)
    return tuple(notes)
