"""What transports have in common that reach a device through its POSIX shell: quoting, ending programs, folders.

A program is run there as

    exec sh -c '<its stdin is empty; a watcher on the connection; (exec program args); its status to stderr>'

The watcher reads the connection's end: when that closes (a time-out, a killed client, a lost network) it kills the
program's whole process group, so that nothing is left running. The status comes as a line with a random word; without
that line the connection was lost, whatever status the client reports. A line with that word also begins what counts of
stdout: what a login says before is not the program's.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import secrets
import shlex
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from compressor.devices.checks import checked_environment, checked_path, checked_program, checked_temporary
from compressor.devices.device import Description, Device, Finished
from compressor.devices.files import finished_pull, size_of, write_tar
from compressor.devices.probe import PROBE, description
from compressor.devices.processes import Ended, Lines
from compressor.errors import CompressError, DeviceError, DeviceLostError

__all__ = ["ShellDevice"]

_SHORT = 60.0  # seconds for what should take none
_WATCHED = (
    "exec 3<&0 </dev/null; (cat <&3 >/dev/null; kill -KILL 0) >/dev/null 2>&1 & exec 3<&-; "
    "{exports}(exec {program}); status=$?; trap '' TERM; kill -TERM 0; "
)
_REPORT = "printf '\\n%s %s\\n' {word} \"$status\" >&2"


class ShellDevice(Device):
    """A device whose shell can be given a command line. Subclasses carry it there."""

    temporary = "${TMPDIR:-/tmp}"  # as the device's shell reads it

    @abstractmethod
    def _execute(
        self,
        line: str,
        *,
        timeout: float,
        on_stdout: Callable[[bytes], None],
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Ended:
        """Give the device's shell a line. Without `feed`, stdin stays open and empty until it has ended."""

    def run(
        self,
        program: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        words = " ".join(map(shlex.quote, checked_program(program)))
        script = _WATCHED.format(exports=_exports(checked_environment(environment)), program=words)
        return self._script(script, Lines(on_line), timeout=timeout)

    def describe(self) -> Description:
        done = self.run(["sh", "-c", PROBE, "probe", *self.python], timeout=_SHORT)
        return description(done.stdout, self.url)

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        name = f"compress-{secrets.token_hex(8)}"
        made = self._script(
            f'folder="{self.temporary}"/{name}; mkdir -m 700 "$folder" && cd "$folder" && pwd -P; status=$?; ',
            Lines(), timeout=_SHORT,
        )  # fmt: skip
        if made.status:
            raise DeviceError(
                f"no folder can be made in its temporary folder: {made.stderr.strip()}", where=self.url,
                way_out="Make room there, or set TMPDIR for that user.",
            )  # fmt: skip
        path = made.stdout.removesuffix("\n")
        try:
            yield path
        except BaseException:
            with contextlib.suppress(CompressError):  # the first error says more
                self._remove(path)
            raise
        self._remove(path)

    def discard(self, folder: str) -> None:
        self._remove(checked_temporary(folder, self.url))

    def push(self, source: Path, destination: str, *, timeout: float = 600.0) -> None:
        checked_path(destination, self.url)
        folder, name = posixpath.split(destination)
        size = size_of(source)
        done = self._script(
            f"tar -x -o -f - -C {shlex.quote(folder)}; status=$?; ",
            Lines(), timeout=timeout, feed=lambda stream: write_tar(stream, source, name),
        )  # fmt: skip
        if done.status:
            raise DeviceError(
                f"{destination} cannot be written: {done.stderr.strip()}", where=self.url,
                way_out=f"{size / 1e6:.1f} MB of room are needed there.",
            )  # fmt: skip

    def pull(self, source: str, destination: Path, *, timeout: float = 600.0) -> None:
        checked_path(source, self.url)
        with finished_pull(destination) as (_, stream):
            ended = self._reported(f"cat < {shlex.quote(source)}; status=$?; ", stream.write, timeout=timeout)
            if ended.status:
                raise DeviceError(f"{source} cannot be read: {ended.stderr.strip()}", where=self.url)

    def _remove(self, path: str) -> None:
        done = self._script(f"rm -rf -- {shlex.quote(path)}; status=$?; ", Lines(), timeout=_SHORT)
        if done.status:
            raise DeviceError(f"{path} cannot be removed: {done.stderr.strip()}", where=self.url)

    def _script(
        self, script: str, lines: Lines, *, timeout: float, feed: Callable[[IO[bytes]], None] | None = None
    ) -> Finished:
        ended = self._reported(script, lines.feed, timeout=timeout, feed=feed)
        lines.feed(b"", final=True)
        return Finished(ended.status, lines.text, ended.stderr)

    def _reported(
        self,
        script: str,
        on_stdout: Callable[[bytes], object],
        *,
        timeout: float,
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Ended:
        """Run a script that leaves `status`; its status and stderr. Raises DeviceLostError where none comes back."""
        word = secrets.token_hex(8)
        line = f"exec sh -c {shlex.quote(f'echo {word}; ' + script + _REPORT.format(word=word))}"
        own = _After(f"{word}\n".encode(), on_stdout)
        ended = self._execute(line, timeout=timeout, on_stdout=own.feed, feed=feed)
        stderr, _, status = ended.stderr.rpartition(f"\n{word} ")
        if not re.fullmatch(r"[0-9]{1,3}\n.*", status, re.DOTALL | re.ASCII) or not own.begun:
            raise DeviceLostError(
                f"the connection was lost: {ended.stderr.strip() or f'status {ended.status}'}", where=self.url,
                way_out="Look whether the device is up, and run the same command again.",
            )  # fmt: skip
        return Ended(int(status.split("\n")[0]), stderr)


def _exports(environment: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}; " for name, value in environment.items())


class _After:
    """Hands on what comes after a mark."""

    def __init__(self, mark: bytes, hand_on: Callable[[bytes], object]) -> None:
        self.mark, self.hand_on, self.begun = mark, hand_on, False
        self._before = b""

    def feed(self, chunk: bytes) -> None:
        if not self.begun:
            before, mark, chunk = (self._before + chunk).partition(self.mark)
            self.begun, self._before = bool(mark), before[-len(self.mark) :]
        if chunk:
            self.hand_on(chunk)
