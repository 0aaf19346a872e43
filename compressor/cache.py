"""Finished stages on disk, by content, so that a rerun resumes after any interruption.

    key = SHA-256(program, pass with options, target, data, seed, versions)

An entry is a folder that is renamed into place when it is whole, and out of it before it is removed; the oldest entries
go when the cache is over its bound. It lives in the user's cache folder (`COMPRESS_CACHE` or `--cache-dir` move it).

Processes of one machine, or of several where the folder is shared, may use it at once. Whoever makes a stage, or reads
one of several files, holds its lock (`hold`): the second waits, and takes what the first made. What is locked is not
trimmed or cleared, nor is the state of a stage that is being made. A value of one file needs no lock: it is read whole,
or it is gone and computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from compressor.errors import OutputError
from compressor.locks import held

__all__ = ["Cache", "Shelf", "default_folder", "file_digest", "tuning_folder", "write_json"]

LIMIT_BYTES = 4 << 30
_TUNING = "tuning"
_VALUE = "value.json"
_LOCK, _WORK, _NEW, _GONE = ".lock-", ".work-", ".new-", ".gone-"
_LEFT = 24 * 3600.0  # seconds: what is this old and was never renamed into place is of a process that was killed
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

    @contextlib.contextmanager
    def hold(self, key: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """The stage is this process's for the block: to look for, to make, to store. Another process that holds it is
        waited for, after `waiting` was called. A block takes one stage alone."""
        if self.folder is None:
            yield
            return
        with held(self.folder / f"{_LOCK}{key}", waiting=waiting):
            yield

    def find(self, key: str) -> Path | None:
        """The folder of a finished stage. It may vanish while it is read, unless the stage is held."""
        if self.folder is None or not (entry := self.folder / key).is_dir():
            return None
        with contextlib.suppress(OSError):  # a read-only cache is still a cache
            os.utime(entry)
        return entry

    def work(self, key: str) -> Path | None:
        """A file where the stage may keep its state while it runs; it goes when the stage is stored."""
        return None if self.folder is None else self.folder / f"{_WORK}{key}" / "checkpoint.pt"

    def store(self, key: str, fill: Callable[[Path], None], *, anew: bool = False) -> None:
        """Let `fill` write a stage into a fresh folder, then rename it into place, unless it is there by then; `anew`:
        in the place of what is there. A full or read-only disk only costs the entry, never the run."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        except OSError:
            self.folder = None
            return
        try:
            fill(temporary)
            if anew:
                _remove(self.folder / key)
            if not (self.folder / key).exists():
                _rename(temporary, self.folder / key)
            _remove(self.folder / f"{_WORK}{key}")
        except OSError:
            self.folder = None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._trim()

    def forget(self, key: str) -> None:
        """Drop an entry that cannot be read."""
        if self.folder is not None:
            _remove(self.folder / key)

    def size(self) -> tuple[int, int]:
        """Entries and bytes."""
        entries = self._entries()
        return len(entries), sum(size for _, size, _ in entries)

    def clear(self) -> tuple[int, int]:
        """Remove everything but what processes that run now make or read; entries and bytes removed. Raises OutputError
        when the folder does not let it."""
        removed: list[int] = []
        for modified, size, entry in self._entries():
            try:
                if self._dropped(entry, modified, strict=True):
                    removed.append(size)
            except OSError as error:
                raise OutputError(f"cannot be cleared: {error.strerror}", where=str(self.folder)) from error
        self._sweep()
        if self.folder is not None:
            with contextlib.suppress(OSError):  # something is left, or it is gone
                self.folder.rmdir()
        return len(removed), sum(removed)

    def _entries(self) -> list[tuple[float, int, Path]]:
        found = []
        for entry in self._stages():
            with contextlib.suppress(OSError):  # another run may be trimming too
                files = entry.rglob("*") if entry.is_dir() else [entry]
                size = sum(file.stat().st_size for file in files if file.is_file())
                found.append((entry.stat().st_mtime, size, entry))
        return sorted(found)

    def _stages(self) -> list[Path]:
        """All but schedules, which took hours, and locks."""
        try:
            found = [] if self.folder is None else list(self.folder.iterdir())
        except OSError:  # it is not there, or another process has just cleared it
            return []
        return [entry for entry in found if entry.name != _TUNING and not entry.name.startswith(_LOCK)]

    def _trim(self) -> None:
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for modified, size, entry in entries:
            if total <= self.limit:
                return
            if self._dropped(entry, modified):
                total -= size

    def _dropped(self, entry: Path, modified: float, *, strict: bool = False) -> bool:
        """Whether it could be removed: not while a process holds its stage, nor while one may be filling it."""
        if entry.name.startswith((_NEW, _GONE)):
            if time.time() - modified < _LEFT:
                return False
            _remove(entry, strict=strict)
            return True
        lock = entry.with_name(f"{_LOCK}{entry.name.removeprefix(_WORK)}")
        if not lock.exists():  # a value, which takes none
            _remove(entry, strict=strict)
            return True
        with held(lock, wait=False) as ours:
            if ours:
                _remove(entry, strict=strict)
                _unlock(lock)
        return ours

    def _sweep(self) -> None:
        """Locks of stages that are gone, unless they are held."""
        for lock in self.folder.glob(f"{_LOCK}*") if self.folder is not None else ():
            with held(lock, wait=False) as ours:
                if ours:
                    _unlock(lock)


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
        self.cache.store(self._key(key), lambda folder: write_json(folder / _VALUE, value), anew=True)

    @contextlib.contextmanager
    def claim(self, key: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether a value is this process's to compute and keep in the block: False where another one is at it, which
        is waited for with `wait`."""
        if self.cache.folder is None:
            yield True
            return
        lock = self.cache.folder / f"{_LOCK}{self._key(key)}"
        with held(lock, wait=wait) as ours:
            try:
                yield ours
            finally:
                if ours:  # whoever waits for it makes another
                    lock.unlink(missing_ok=True)

    def _key(self, key: str) -> str:
        return self.cache.key("shelf", key, self.fingerprint)


def _rename(new: Path, place: Path) -> None:
    """Into place, unless another process was first."""
    try:
        new.rename(place)
    except OSError:
        if not place.exists():
            raise


def _remove(entry: Path, *, strict: bool = False) -> None:
    """In one step for whoever looks for it; files that are open stay readable to those that read them. Raises OSError
    where it stays, if `strict`."""
    gone = entry.with_name(f"{_GONE}{uuid.uuid4().hex}")
    try:
        entry.rename(gone)
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    except FileNotFoundError:
        return
    except OSError:
        if strict:
            raise


def _unlock(lock: Path) -> None:
    """Remove the lock of a stage of which nothing is left; it is held."""
    key = lock.name.removeprefix(_LOCK)
    if not any(lock.with_name(f"{kind}{key}").exists() for kind in ("", _WORK)):
        lock.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """JSON with stable order."""
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
