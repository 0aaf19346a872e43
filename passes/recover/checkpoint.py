"""The state of an interrupted recovery on disk: whole or not at all, and read without executing anything.

torch.save + SHA-256 → a neighbour → fsync → rename           torch.load(weights_only=True)

A checkpoint belongs to one run: `identity` stands for both programs, the budget, the losses, the data and the seed.
One that is damaged, or another run's, is not continued.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
from pathlib import Path
from typing import Any

import torch

from compressor.passes.recover.ranks import Ranks

__all__ = ["identity", "read_checkpoint", "write_checkpoint"]

VERSION = 4
_DIGEST = hashlib.sha256().digest_size
_ZIP_MAGIC = b"PK"


def identity(*parts: object) -> str:
    """One digest of everything that decides how a run goes."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def write_checkpoint(path: Path, key: str, state: dict[str, Any]) -> bool:
    """Replace the checkpoint; whether it could be written. A full disk costs the checkpoint, never the run."""
    partial = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.partial")  # several machines may share it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save({"version": VERSION, "identity": key, "state": state}, content)
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError):  # torch's writer turns a full disk into the latter
        return False
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return True


def read_checkpoint(path: Path | None, key: str, ranks: Ranks | None = None) -> dict[str, Any] | None:
    """The state of the same run, or None where there is none that can be continued.

    Where there are several processes all of them call this, and get what the first one finds.
    """
    ranks = ranks or Ranks()
    content = b""
    if ranks.first and path is not None:
        with contextlib.suppress(OSError):
            content = path.read_bytes()
    state = _state(content, key)
    if ranks.size == 1:
        return state
    return _state(ranks.bytes_of_first(content if state is not None else b""), None)


def _state(content: bytes, key: str | None) -> dict[str, Any] | None:
    """What a checkpoint's bytes hold, if it is this run's; None as the key takes any."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if not body.startswith(_ZIP_MAGIC) or hashlib.sha256(body).digest() != digest:  # torch.load checks no sums
        return None
    try:
        read = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    except Exception:  # noqa: BLE001  torch raises many types on a damaged file; each means "not this run's"
        return None
    if not isinstance(read, dict) or read.get("version") != VERSION or key not in (None, read.get("identity")):
        return None
    state = read.get("state")
    return state if isinstance(state, dict) else None
