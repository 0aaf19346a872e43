"""One process at a time: a lock on a file beside what processes share, on one machine or, in a shared folder, several.

The system holds the lock, and lets go of it however its process ends (kill -9, too): there is no lease to run out, and
none to renew. NFS carries it to the server (version 4, or version 3 with its lock daemon). Where a file system has no
such locks, filelock marks the file instead; where nothing can be written, nothing is locked: then what is shared is
safe alone by appearing whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["held"]

POLL = 0.25  # seconds between two looks at a lock that another process holds


@contextlib.contextmanager
def held(path: Path, *, wait: bool = True, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Whether the lock is this process's for the block: False where another one holds it and `wait` is not set.

    `waiting` is called once before it waits. The file stays: `remove` it only while the lock is held.
    """
    lock = FileLock(path)
    try:
        yield _taken(lock, path, wait, waiting)
    finally:
        lock.release()


def _taken(lock: FileLock, path: Path, wait: bool, waiting: Callable[[], None] | None) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            return False
        if waiting is not None:
            waiting()
        lock.acquire(poll_interval=POLL)
    except (OSError, NotImplementedError):  # a folder that is read-only, a system without locks
        return True
    return True
