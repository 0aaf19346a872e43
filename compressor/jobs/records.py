"""What is known of each job of a list, on disk: one JSON file a job in `.jobs/` beside the bundles.

    digest = SHA-256(options, content of every file that they name)         a job with the same digest is not done again

A record is written when its job begins and when it ends, whole or not at all, by the process that holds the job's lock:
one that says "running" while nobody holds the lock is of a process that was killed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from compressor.cache import file_digest
from compressor.errors import InputError, OutputError
from compressor.jobs.document import Job
from compressor.request import Request
from compressor.userfile import is_function_text

__all__ = ["FOLDER", "Record", "begun", "described", "digest_of", "lock_of", "read", "write", "write_whole"]

FOLDER = ".jobs"
State = Literal["waiting", "running", "broke off", "done", "failed"]
_FILES = ("model", "data", "metric", "factory", "recipe", "teacher", "train", "target")  # options that may name a file
_NOT_SAID = ("out", "force", "dry_run", "no_cache", "cache_dir")  # change nothing of a bundle


@dataclass(frozen=True)
class Record:
    """One job. `seconds` it took, `exit_code` as `compress` would end with; `figures` before and after."""

    name: str
    digest: str
    model_sha256: str
    request: Mapping[str, Any]
    state: State = "waiting"
    exit_code: int | None = None
    error: str = ""
    verdict: str = ""
    host: str = ""
    process: int = 0
    seconds: float = 0.0
    figures: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether there is a bundle: of the original alone, perhaps."""
        return self.state == "done"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def begun(job: Job) -> Record:
    """A record of a job that this process begins. Raises InputError where a file cannot be read."""
    digest, model = digest_of(job.request)
    return Record(
        job.name, digest, model, described(job.request), "running", host=platform.node(), process=os.getpid()
    )  # fmt: skip


def described(request: Request) -> dict[str, Any]:
    """The options that are not as usual, as JSON holds them."""
    usual = {each.name: each.default for each in fields(Request)}
    said = {name: getattr(request, name) for name in usual if name not in _NOT_SAID}
    return {
        name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        for name, value in said.items()
        if value != usual[name]
    }


def digest_of(request: Request) -> tuple[str, str]:
    """Of the request, and of its model's content. Raises InputError where a file cannot be read."""
    contents = {name: _content(name, getattr(request, name)) for name in _FILES}
    text = json.dumps([described(request), contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest(), contents["model"]


def lock_of(out: Path, name: str) -> Path:
    return out / FOLDER / f"{name}.lock"


def read(out: Path, name: str) -> Record | None:
    """What is known of a job; None where that is nothing, or cannot be read."""
    try:
        found = json.loads((out / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        return Record(**found)
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write(out: Path, record: Record) -> None:
    """Raises OutputError where the disk refuses."""
    write_whole(out / FOLDER / f"{record.name}.json", record.to_json())


def write_whole(path: Path, value: Any) -> None:
    """JSON that is there whole, or as it was. Raises OutputError."""
    partial = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _content(option: str, value: Any) -> str:
    """The SHA-256 of the file, or of the files in the folder, that an option names; "" for what names none."""
    if value is None or (option == "target" and not str(value).endswith(".toml")):
        return ""
    path = Path(str(value).rpartition(":")[0] if is_function_text(str(value)) else value)
    if not path.exists():
        if option in ("model", "data", "recipe", "teacher"):
            raise InputError(f"no such file {str(path)!r}", where=f"--{option}" if option != "model" else "MODEL")
        return ""
    try:
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        digests = [(str(each.relative_to(path)), _sha256(each, each.stat().st_mtime_ns)) for each in files]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return digests[0][1] if path.is_file() else hashlib.sha256(json.dumps(digests).encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _sha256(file: Path, _modified: int) -> str:
    return file_digest(file)
