"""Finished stages on disk, by content, so that a rerun resumes after any interruption.

    key = SHA-256(program, pass with options, target, data, seed, versions)

An entry is a folder that is renamed into place when it is whole; the oldest entries go when the cache is over its
bound. It lives in the user's cache folder (`COMPRESS_CACHE` or `--cache-dir` move it).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from compressor.errors import OutputError

__all__ = ["Cache", "Shelf", "default_folder", "tuning_folder", "write_json"]

LIMIT_BYTES = 4 << 30
_TUNING = "tuning"
_VALUE = "value.json"
T = TypeVar("T")


def default_folder() -> Path:
    """Where stages are kept unless the user says otherwise."""
    import platformdirs

    return Path(os.environ.get("COMPRESS_CACHE") or platformdirs.user_cache_dir("edge-compressor")) / "stages"


def tuning_folder(cache: Path | None) -> Path:
    """Where schedules that were found are kept, which took hours: beside the usual folder of stages, or in the folder
    that the user gave for them. Clearing and trimming stages leaves it."""
    return default_folder().parent / _TUNING if cache is None else cache / _TUNING


class Cache:
    """A bounded folder of finished stages. With `folder=None` nothing is kept."""

    def __init__(self, folder: Path | None, limit: int = LIMIT_BYTES) -> None:
        self.folder, self.limit = folder, limit

    def key(self, *parts: object) -> str:
        """A stage's name from everything that decides its result."""
        return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()

    def find(self, key: str) -> Path | None:
        """The folder of a finished stage."""
        if self.folder is None or not (entry := self.folder / key).is_dir():
            return None
        with contextlib.suppress(OSError):  # a read-only cache is still a cache
            os.utime(entry)
        return entry

    def work(self, key: str) -> Path | None:
        """A file where the stage may keep its state while it runs; it goes when the stage is stored."""
        return None if self.folder is None else self.folder / f".work-{key}" / "checkpoint.pt"

    def store(self, key: str, fill: Callable[[Path], None]) -> None:
        """Let `fill` write a stage into a fresh folder, then rename it into place; a full or read-only disk only
        costs the entry, never the run."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        except OSError:
            self.folder = None
            return
        try:
            fill(temporary)
            if not (self.folder / key).exists():
                temporary.rename(self.folder / key)
            shutil.rmtree(self.folder / f".work-{key}", ignore_errors=True)
        except OSError:
            self.folder = None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._trim()

    def forget(self, key: str) -> None:
        """Drop an entry that cannot be read."""
        if self.folder is not None:
            shutil.rmtree(self.folder / key, ignore_errors=True)

    def size(self) -> tuple[int, int]:
        """Entries and bytes."""
        entries = self._entries()
        return len(entries), sum(size for _, size, _ in entries)

    def clear(self) -> tuple[int, int]:
        """Remove everything; entries and bytes removed. Raises OutputError when the folder does not let it."""
        removed = self.size()
        if self.folder is not None and self.folder.exists():
            try:
                for entry in self._stages():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()
            except OSError as error:
                raise OutputError(f"cannot be cleared: {error.strerror}", where=str(self.folder)) from error
        return removed

    def _entries(self) -> list[tuple[float, int, Path]]:
        if self.folder is None or not self.folder.is_dir():
            return []
        found = []
        for entry in self._stages():
            with contextlib.suppress(OSError):  # another run may be trimming too
                size = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
                found.append((entry.stat().st_mtime, size, entry))
        return sorted(found)

    def _stages(self) -> list[Path]:
        return [] if self.folder is None else [entry for entry in self.folder.iterdir() if entry.name != _TUNING]

    def _trim(self) -> None:
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for _, size, entry in entries:
            if total <= self.limit:
                return
            shutil.rmtree(entry, ignore_errors=True)
            total -= size


class Shelf:
    """A pass's part of the cache in a run: its keys count for the same target, data, seed and versions alone."""

    def __init__(self, cache: Cache, fingerprint: str) -> None:
        self.cache, self.fingerprint = cache, fingerprint

    def find(self, key: str) -> Path | None:
        """The folder of what was stored."""
        return self.cache.find(self._key(key))

    def store(self, key: str, fill: Callable[[Path], None]) -> None:
        """As `Cache.store`."""
        self.cache.store(self._key(key), fill)

    def recall(self, key: str, read: Callable[[Any], T]) -> T | None:
        """What `read` makes of a value that `keep` kept; None where there is none, or none that it understands."""
        if (folder := self.find(key)) is None:
            return None
        try:
            return read(json.loads((folder / _VALUE).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a damaged entry costs a recomputation, never the run

    def keep(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold, in the place of one that could not be read."""
        self.cache.forget(self._key(key))
        self.store(key, lambda folder: write_json(folder / _VALUE, value))

    def _key(self, key: str) -> str:
        return self.cache.key("shelf", key, self.fingerprint)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """JSON with stable order."""
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
