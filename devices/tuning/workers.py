"""Several workers at a time (`worker.py`), each with a request of its own; what one does badly costs that request.

A worker that does not answer in time, or whose process ends, is replaced by a new one.
"""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

from compressor.devices.processes import kill_group
from compressor.devices.tuning import worker

__all__ = ["Workers"]

_START = 60.0  # seconds that a new process may take besides, until it has loaded TVM
_THREADS = ("OMP_NUM_THREADS", "TVM_NUM_THREADS", "OMP_THREAD_LIMIT")  # would bound what is timed


class Workers:
    """`count` processes that are started when they are needed, and end with this. Use it in a `with`."""

    def __init__(self, count: int, *, threads: int = 1) -> None:
        self._count, self._threads = count, threads
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._all: list[_Process] = []
        self._pool = ThreadPoolExecutor(max_workers=count)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def processes(self) -> list[int]:
        """The numbers of those that run."""
        return [each.process.pid for each in self._all if each.process.poll() is None]

    def close(self) -> None:
        """End the processes, also those that are at work."""
        self._closed = True
        for process in self._all:
            process.end()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def ask(self, requests: Sequence[Callable[[], Mapping[str, Any]]], timeout: float) -> list[Mapping[str, Any]]:
        """Their answers in order: what the worker says, or {"error": why there is none}.

        A request is made when a worker is free for it, and what making it raises is raised.
        """
        waiting = [self._pool.submit(self._one, make, timeout) for make in requests]
        return [future.result() for future in waiting]

    def _one(self, make: Callable[[], Mapping[str, Any]], timeout: float) -> Mapping[str, Any]:
        request = make()
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _Process(self._threads)
            self._all.append(process)
        if self._closed:
            process.end()
        answer = process.ask(request, timeout)
        if answer is None:
            self._all.remove(process)
            return {"error": process.fault}
        self._idle.put(process)
        return answer


class _Process:
    """A worker's process; `fault` says why it is no more."""

    def __init__(self, threads: int) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _THREADS}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(worker.__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**environment, "TVM_NUM_THREADS": str(threads)},
        )  # fmt: skip
        self.fault, self.fresh = "", True

    def ask(self, request: Mapping[str, Any], timeout: float) -> Mapping[str, Any] | None:
        deadline = time.monotonic() + timeout + (_START if self.fresh else 0.0)
        self.fresh = False
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            worker.send(self.process.stdin, dict(request))
            if not _readable(self.process.stdout, deadline):
                self.fault = f"no answer within {timeout:g} s"
                self.end()
                return None
            answer: Mapping[str, Any] = worker.receive(self.process.stdout)
            return answer
        except (OSError, EOFError, ValueError):
            self.end()
            self.fault = f"the process ended with status {self.process.returncode}"
            return None

    def end(self) -> None:
        kill_group(self.process)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            _close(stream)


def _readable(stream: IO[bytes], deadline: float) -> bool:
    """Whether there is something to read, or the end, before the deadline."""
    left = max(0.0, deadline - time.monotonic())
    return bool(select.select([stream], [], [], left)[0])


def _close(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:
        return  # it held what nobody reads any more
