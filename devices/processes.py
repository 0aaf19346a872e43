"""Runs a program of this machine under a time-out, and leaves nothing of it behind: its whole process group goes.

Output is handed over in the caller's thread as it comes. A child of the program that outlives it and still holds its
pipes is ended, too.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from compressor.errors import DeviceError, DeviceLostError

__all__ = ["Ended", "Lines", "execute", "kill_group"]

_CHUNK = 1 << 16
_WAIT = 0.1  # seconds between looks at whether the program has ended while a child of it holds its pipes
_DRAIN = 2.0  # seconds for what is left in the pipes of a program that has ended


@dataclass(frozen=True)
class Ended:
    """A program that has ended: its status as a shell gives it (128 + signal), and its stderr."""

    status: int
    stderr: str


@dataclass
class Lines:
    """Bytes in, text out: the whole of it, and each line to `on_line` when it is complete.

    Raises DeviceError beyond `most` characters: a board that writes without end would fill this machine's memory.
    """

    on_line: Callable[[str], None] | None = None
    most: int = 1 << 28
    _parts: list[str] = field(default_factory=list)
    _rest: list[str] = field(default_factory=list)
    _length: int = 0

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        text = self._decoder.decode(chunk, final)
        self._length += len(text)
        if self._length > self.most:
            raise DeviceError(
                f"it writes without end: more than {self.most:,} characters", way_out="Look at the device."
            )
        self._parts.append(text)
        if self.on_line is None:
            return
        ends, newline, rest = text.rpartition("\n")
        if newline:
            lines, self._rest = "".join([*self._rest, ends]).split("\n"), []
            for line in lines:
                self.on_line(line)
        self._rest.append(rest)
        if final and (last := "".join(self._rest)):
            self._rest = []
            self.on_line(last)

    @property
    def text(self) -> str:
        return "".join(self._parts)


def execute(
    argv: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    on_stdout: Callable[[bytes], None],
    feed: Callable[[IO[bytes]], None] | None = None,
    where: str = "",
) -> Ended:
    """Run a program. `environment` is all of it; its stdin is what `feed` writes, or a pipe that stays open and empty.

    Raises DeviceLostError after `timeout` seconds, DeviceError where it cannot be started, and what `feed` and
    `on_stdout` raise.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment), start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        return Ended(127, f"{argv[0]}: not found\n")
    except PermissionError:
        return Ended(126, f"{argv[0]}: permission denied\n")
    except (OSError, ValueError) as error:
        raise DeviceError(f"{argv[0]} cannot be started: {error}", where=where) from error
    return _Running(process, where or argv[0]).finish(timeout, on_stdout, feed)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in a session of its own, and all that it started in it."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; or a zombie, on macOS
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


class _Running:
    """A process, and threads that keep its pipes moving."""

    def __init__(self, process: subprocess.Popen[bytes], where: str) -> None:
        self.process, self.where = process, where
        self.output: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=64)
        self.fault: BaseException | None = None

    def finish(
        self, timeout: float, on_stdout: Callable[[bytes], None], feed: Callable[[IO[bytes]], None] | None
    ) -> Ended:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for name, stream in (("out", process.stdout), ("err", process.stderr)):
            threading.Thread(target=self._read, args=(name, stream), daemon=True).start()
        feeder = threading.Thread(target=self._feed, args=(process.stdin, feed), daemon=True)
        feeder.start()
        errors = Lines()
        try:
            self._collect(time.monotonic() + timeout, timeout, on_stdout, errors)
        finally:
            kill_group(process)
            process.wait()
            self._drain()
            feeder.join(_DRAIN)
            if not feeder.is_alive():
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        if self.fault is not None:
            raise self.fault
        return Ended(process.returncode if process.returncode >= 0 else 128 - process.returncode, errors.text)

    def _collect(self, deadline: float, timeout: float, on_stdout: Callable[[bytes], None], errors: Lines) -> None:
        """Hand over output until both pipes have ended and the process has, too."""
        streams = 2
        while streams:
            try:
                name, chunk = self.output.get(timeout=max(0.0, min(_WAIT, deadline - time.monotonic())))
            except queue.Empty:
                if self.process.poll() is not None:
                    kill_group(self.process)  # what it left running holds the pipes open
                    deadline = min(deadline, time.monotonic() + _DRAIN)
                if time.monotonic() >= deadline:
                    break
                continue
            if not chunk:
                streams -= 1
            elif name == "out":
                on_stdout(chunk)
            else:
                errors.feed(chunk)
            if time.monotonic() >= deadline:
                break
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise DeviceLostError(
                f"no answer within {timeout:g} s", where=self.where, way_out="Look at the device, or allow more time."
            ) from None

    def _read(self, name: str, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), _CHUNK):
            self.output.put((name, chunk))
        stream.close()
        self.output.put((name, b""))

    def _feed(self, stdin: IO[bytes], feed: Callable[[IO[bytes]], None] | None) -> None:
        if feed is None:
            return
        try:
            feed(stdin)
            stdin.close()
        except BrokenPipeError:
            return  # it ended early; its status says why
        except BaseException as error:  # noqa: BLE001  raised again where the program was started
            self.fault = error
            kill_group(self.process)

    def _drain(self) -> None:
        """Let readers that wait for room in the queue come to their end."""
        end = time.monotonic() + _DRAIN
        while any(not stream.closed for stream in (self.process.stdout, self.process.stderr) if stream):
            with contextlib.suppress(queue.Empty):
                self.output.get(timeout=0.01)
            if time.monotonic() > end:
                return
