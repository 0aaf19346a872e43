"""This machine as a device: programs are started directly, without a shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from compressor.devices.address import Address
from compressor.devices.checks import checked_environment, checked_path, checked_program, checked_temporary
from compressor.devices.device import Description, Device, Finished
from compressor.devices.probe import PROBE, description
from compressor.devices.processes import Lines, execute
from compressor.errors import DeviceError

__all__ = ["LocalDevice"]


class LocalDevice(Device):
    """This machine."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.python = (sys.executable,)

    def push(self, source: Path, destination: str, *, timeout: float = 600.0) -> None:
        _copy(source, Path(checked_path(destination, self.url)))

    def pull(self, source: str, destination: Path, *, timeout: float = 600.0) -> None:
        if Path(checked_path(source, self.url)).is_dir():
            raise DeviceError(f"{source} cannot be read: it is a folder", where=self.url)
        _copy(Path(source), destination)

    def run(
        self,
        program: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        given = {**os.environ, **checked_environment(environment)}
        return self._finished(checked_program(program), given, timeout, on_line)

    def describe(self) -> Description:
        done = self.run(["sh", "-c", PROBE, "probe", *self.python], timeout=60)
        return description(done.stdout, self.url)

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="compress-") as path:
            yield path

    def discard(self, folder: str) -> None:
        shutil.rmtree(checked_temporary(folder, self.url), ignore_errors=True)

    def _finished(
        self, argv: Sequence[str], environment: Mapping[str, str], timeout: float,
        on_line: Callable[[str], None] | None,
    ) -> Finished:  # fmt: skip
        """A program of this machine run to its end; `environment` is all of it."""
        lines = Lines(on_line)
        ended = execute(argv, timeout=timeout, environment=environment, on_stdout=lines.feed, where=self.url)
        lines.feed(b"", final=True)
        return Finished(ended.status, lines.text, ended.stderr)


def _copy(source: Path, destination: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True)
        else:
            shutil.copy2(source, destination)
    except (OSError, shutil.Error) as error:
        raise DeviceError(f"cannot be copied to {destination}: {error}", where=str(source)) from error
