"""This machine as a device."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from compressor.devices.device import Description, Device, Finished
from compressor.errors import DeviceError, DeviceLostError

__all__ = ["Local"]


class Local(Device):
    """Programs run here, with this Python."""

    url = "local"
    python = (sys.executable,)

    def push(self, source: Path, destination: str, *, timeout: float = 600.0) -> None:
        shutil.copytree(source, destination) if source.is_dir() else shutil.copyfile(source, destination)

    def pull(self, source: str, destination: Path, *, timeout: float = 600.0) -> None:
        shutil.copyfile(source, destination)

    def run(
        self,
        program: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        try:
            process = subprocess.Popen(
                list(program), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="replace", env={**os.environ, **(environment or {})},
            )  # fmt: skip
        except OSError as error:
            raise DeviceError(f"{program[0]!r} does not start: {error.strerror}", where=self.url) from error
        return _followed(process, timeout, on_line)

    def describe(self) -> Description:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return Description(
            platform.system(), platform.machine(), platform.processor(), os.cpu_count() or 1, memory,
            platform.python_version(), {"onnxruntime": metadata.version("onnxruntime")},
        )  # fmt: skip

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="compress-") as folder:
            yield folder


def _followed(process: subprocess.Popen[str], timeout: float, on_line: Callable[[str], None] | None) -> Finished:
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    reader = threading.Thread(target=lambda stream: errors.append(stream.read()), args=(process.stderr,))
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout, expire)
    lines = []
    with process:
        reader.start()
        timer.start()
        try:
            for line in process.stdout:
                lines.append(line)
                if on_line is not None:
                    on_line(line.rstrip("\n"))
            process.wait()
        finally:
            timer.cancel()
            process.kill()
            reader.join()
    if expired.is_set():
        raise DeviceLostError(f"no end after {timeout:.0f} seconds", where="local")
    return Finished(process.returncode, "".join(lines), "".join(errors))
