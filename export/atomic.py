"""A folder that appears whole or not at all.

It is filled under a temporary name beside its place, synced, and renamed. Replacing an existing folder exchanges the
two names in one system call where the system has one (Linux, macOS); elsewhere the old folder is renamed away first,
and put back by the next run should this one die in between.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compressor.errors import OutputError

__all__ = ["alive", "ensure_writable", "new_folder"]

MARK = "manifest.json"  # a folder without it is no bundle, and is never replaced
_AT_FDCWD, _EXCHANGE = -100, 2


def ensure_writable(out: Path, *, force: bool) -> None:
    """Whether a bundle could be written to `out`. Raises OutputError when not, with the way out."""
    out = _absolute(out)
    parent = out.parent
    if not parent.is_dir():
        raise OutputError(f"the folder {str(parent)!r} does not exist", where="--out", way_out="Create it first.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {str(parent)!r} cannot be written to", where="--out", way_out="Choose another.")
    _recover(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{str(out)!r} is a file, not a folder", where="--out", way_out="Choose another name.")
    if not (out / MARK).is_file() and any(out.iterdir()):
        raise OutputError(
            f"{str(out)!r} is no bundle and is not replaced", where="--out", way_out="Choose another name, or empty it."
        )
    if not force and any(out.iterdir()):
        raise OutputError(f"{str(out)!r} exists", where="--out", way_out="Replace it with --force, or choose another.")


@contextmanager
def new_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder that becomes `out` when the body ends well, and disappears when it does not.

    Raises OutputError as `ensure_writable` does, and when the disk is full or refuses.
    """
    ensure_writable(out, force=force)
    out = _absolute(out)
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir()
        yield temporary
        _sync(temporary)
        _install(temporary, out)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write: {reason}", where=str(out), way_out="Free space there, or choose another folder with --out."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _absolute(out: Path) -> Path:
    return Path(os.path.realpath(out))


def _install(temporary: Path, out: Path) -> None:
    if not out.exists():
        temporary.rename(out)
    elif not _exchange(temporary, out):
        old = out.parent / f".{out.name}.{os.getpid()}.old"
        out.rename(old)
        temporary.rename(out)
        shutil.rmtree(old)
    _sync_folder(out.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names atomically; false where the system or its file system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    one, two = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return bool(library.renamex_np(one, two, ctypes.c_uint(_EXCHANGE)) == 0)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        return bool(library.renameat2(_AT_FDCWD, one, _AT_FDCWD, two, ctypes.c_uint(_EXCHANGE)) == 0)
    return False


def _recover(out: Path) -> None:
    """What processes that were killed left beside `out`: their old folder is put back, half ones are removed."""
    pattern = re.compile(re.escape(f".{out.name}.") + r"(\d+)\.(tmp|old)")
    for entry in list(out.parent.iterdir()):
        found = pattern.fullmatch(entry.name)
        if found is None or alive(int(found[1])):
            continue
        with suppress(OSError):
            if found[2] == "old" and not out.exists():
                entry.rename(out)
            else:
                shutil.rmtree(entry)


def alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _sync(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb+") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
