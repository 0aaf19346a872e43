"""Files on their way: a folder as a tar stream, and a file that appears here when it is whole."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from compressor.errors import DeviceError

__all__ = ["finished_pull", "size_of", "write_tar"]


@contextlib.contextmanager
def finished_pull(destination: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file beside `destination` that takes its place when the block ends well. Raises DeviceError."""
    try:
        handle, name = tempfile.mkstemp(prefix=".pull-", dir=destination.parent)
    except OSError as error:
        raise DeviceError(f"cannot be written: {error.strerror}", where=str(destination)) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield Path(name), stream
        os.replace(name, destination)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise DeviceError(f"cannot be written: {error.strerror}", where=str(destination)) from error
        raise


def size_of(source: Path) -> int:
    """Bytes of a file or folder. Raises DeviceError where it is not there or cannot be read."""
    try:
        if source.is_dir():
            return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        with source.open("rb"):
            return source.stat().st_size
    except OSError as error:
        raise DeviceError(f"cannot be read: {error.strerror}", where=str(source)) from error


def write_tar(stream: IO[bytes], source: Path, name: str) -> None:
    """A file or folder under a name of its own; links are followed, owners stay here."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    buffered = io.BufferedWriter(_Unclosed(stream), 1 << 18)
    with tarfile.open(fileobj=buffered, mode="w|", dereference=True, format=tarfile.GNU_FORMAT) as archive:
        archive.add(source, arcname=f"./{name}", filter=anonymous)
    buffered.flush()


class _Unclosed(io.RawIOBase):
    """A stream to write to that is closed by somebody else."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        chunk = bytes(data)  # type: ignore[call-overload]
        self.stream.write(chunk)
        self.stream.flush()
        return len(chunk)
