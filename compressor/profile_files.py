"""What a profile keeps on this machine while it is made: where it will be written, and networks of an earlier run."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from compressor.devices.latency.subject import Subject, read
from compressor.errors import OutputError

__all__ = ["check_folder", "found_again", "told"]


def check_folder(folder: Path) -> None:
    """Before anything is measured: that the folder is there, or can be made, and written to. Raises OutputError."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        way_out = "Choose a folder that can be written to."
        raise OutputError(f"{str(there)!r} cannot be written to", where=str(folder), way_out=way_out)


@contextlib.contextmanager
def told(where: Path, way_out: str = "Make room there, or choose another folder.") -> Iterator[None]:
    """What the disk refuses in the block, as an OutputError."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or where)
        raise OutputError(f"cannot be written: {error.strerror or error}", where=place, way_out=way_out) from error


def found_again(work: Path, name: str) -> Subject | None:
    """A network's files of an earlier run; None where they are not there or not whole, as a kill leaves them."""
    try:
        subject = read(work, name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    return subject if subject.model.is_file() and zipfile.is_zipfile(subject.inputs) else None
