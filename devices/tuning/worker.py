"""A process that compiles functions and times them, so that what crashes or hangs there takes nothing else along.

    python3 worker.py        requests on stdin, answers on stdout: pickles with their length before them

It needs Python, NumPy and apache-tvm, and nothing else of ours. It ends, with all that it started, when its stdin does:
however the process that started it went, nothing of it stays behind.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

__all__ = ["answer", "main", "receive", "send"]

_BIG_CORES = 1  # runtime.config_threadpool: the fastest ones
_MAIN = "main"


def send(stream: IO[bytes], message: object) -> None:
    """Write a message. Raises OSError where nobody reads."""
    data = pickle.dumps(message)
    stream.write(struct.pack("<q", len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read a message. Raises EOFError where there is none."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (length,) = struct.unpack("<q", head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a request asks for, or {"error": why not}."""
    try:
        return {"build": _build, "run": _run}[request["do"]](request)
    except Exception as error:  # noqa: BLE001  a schedule may fail in any way; the caller is told
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"error": f"{type(error).__name__}: {lines[-1][:300] if lines else ''}"}


def _build(request: dict[str, Any]) -> dict[str, Any]:
    """{"module": JSON, "target", "path", "link": a linker's words}: a library at `path`."""
    import tvm

    target = tvm.target.Target(request["target"])
    built = tvm.compile(tvm.ir.load_json(request["module"]), target=target)

    def link(path: str, objects: list[str], **_: Any) -> None:
        subprocess.run([*request["link"], "-o", path, *objects], check=True, capture_output=True)

    built.export_library(request["path"], fcompile=link)
    return {"path": request["path"]}


def _run(request: dict[str, Any]) -> dict[str, Any]:
    """{"paths", "arguments": [(shape, dtype)], "where": (host, port, key) or None, "threads"}: each library's times.

    With "rounds" and "seconds" they are timed in turn, so many times for so long each; a library whose first run takes
    more than "limit" seconds is not run again. With "seed", one run's arrays are given back as well, of inputs drawn
    from it.
    """
    session = _session(request)
    device = session.cpu(0)
    functions = [_loaded(session, path) for path in request["paths"]]
    _threads(session, request["threads"])
    found: dict[str, Any] = {}
    if request.get("seed") is not None:
        found["arrays"] = [_outputs(function, device, request) for function in functions]
    if request.get("rounds"):
        found["times"] = _times(functions, device, request)
    return found


class _Here:
    """This machine, as far as it is used like TVM's RPC sessions."""

    def cpu(self, index: int) -> Any:
        import tvm

        return tvm.cpu(index)

    def get_function(self, name: str) -> Any:
        import tvm

        return tvm.get_global_func(name)


def _session(request: dict[str, Any]) -> Any:
    if request["where"] is None:
        return _Here()
    from tvm import rpc

    host, port, key = request["where"]
    return rpc.connect(host, port, key, session_timeout=int(request["timeout"]) + 1)


def _loaded(session: Any, path: str) -> Any:
    import tvm

    if isinstance(session, _Here):
        return tvm.runtime.load_module(path)
    session.upload(path)
    return session.load_module(os.path.basename(path))


def _threads(session: Any, count: int | None) -> None:
    if count:
        session.get_function("runtime.config_threadpool")(_BIG_CORES, count)


def _arguments(device: Any, request: dict[str, Any], seed: int) -> list[Any]:
    """Normal values, of an odd seed positive ones: where a root or a logarithm is taken, too."""
    import numpy
    import tvm

    draws = numpy.random.default_rng(seed)
    arrays = [draws.standard_normal(shape).astype(kind) for shape, kind in request["arguments"]]
    return [tvm.runtime.tensor(abs(array) + 0.5 if seed % 2 else array, device) for array in arrays]


def _outputs(function: Any, device: Any, request: dict[str, Any]) -> list[Any]:
    arguments = _arguments(device, request, request["seed"])
    function[_MAIN](*arguments)
    return [argument.numpy() for argument in arguments]


def _times(functions: list[Any], device: Any, request: dict[str, Any]) -> list[list[float]]:
    """Seconds a run, by library and round."""
    arguments, limit = _arguments(device, request, 1), request.get("limit") or float("inf")
    timers: list[Callable[..., Any]] = []
    times: list[list[float]] = [[] for _ in functions]
    for index, function in enumerate(functions):
        start = time.perf_counter()
        function[_MAIN](*arguments)
        device.sync()
        first = time.perf_counter() - start
        milliseconds = int(1e3 * request["seconds"])
        timers.append(function.time_evaluator(_MAIN, device, number=1, repeat=1, min_repeat_ms=milliseconds))
        if first > limit:
            times[index].append(first)
    for _ in range(request["rounds"]):
        for row, timer in zip(times, timers, strict=True):
            if not row or row[0] <= limit:
                row.append(float(timer(*arguments).results[0]))
    return times


def _requests(stream: IO[bytes]) -> queue.Queue[Any]:
    """Requests as they come; the end of the stream ends this process, whatever it is doing, and its children."""
    waiting: queue.Queue[Any] = queue.Queue()

    def read() -> None:
        try:
            while True:
                waiting.put(receive(stream))
        except (EOFError, OSError):
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def main() -> None:
    """Answer requests until stdin ends."""
    waiting = _requests(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a compiler prints is no answer
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # TVM would load it, for seconds and 200 MB
    while True:
        send(answers, answer(waiting.get()))


if __name__ == "__main__":
    main()
