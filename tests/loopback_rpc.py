"""Boards on loopback that run `rpc_server.py`, with this Python's apache-tvm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

from loopback_ssh import free_port

from compressor.devices.transports import rpc_server

__all__ = ["Board", "board", "tracker"]


class Board:
    """A running server and its port."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.port, self.arguments, self.environment = free_port(), arguments, {**os.environ, **environment}
        self.start()

    @property
    def url(self) -> str:
        return f"rpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, rpc_server.__file__, "--port", str(self.port), *self.arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=self.environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        self.port = int(line.rpartition(":")[2])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # a test may have killed it
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def board(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Board]:
    """A server with these arguments, and variables beside this process's."""
    running = Board(arguments, environment or {})
    try:
        yield running
    finally:
        running.kill()


@contextlib.contextmanager
def tracker() -> Iterator[int]:
    """TVM's tracker, and the port that it listens on; it and boards that report to it come up in their own time."""
    port, quiet = free_port(), subprocess.DEVNULL
    command = [sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--port-end", str(port + 1)]
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
