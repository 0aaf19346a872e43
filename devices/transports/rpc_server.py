"""The board's side of RPC: one file that needs Python and apache-tvm there, and nothing else of ours.

    python3 rpc_server.py [--port 9090] [--key KEY --tracker HOST:PORT]

It is TVM's own RPC server, bound to loopback because RPC has no authentication (reach it through ssh), with functions
beside TVM's that start programs and move files. A program runs under a shell whose stdin is a pipe of ours, so that its
watcher ends it when this process goes, however it goes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

__all__ = ["Programs", "main", "register"]

_HOST = "127.0.0.1"
_CHUNK = 1 << 16


class Programs:
    """Shell lines that run, by number, with what they have written since it was last asked for."""

    def __init__(self) -> None:
        self.running: dict[int, _Program] = {}

    def start(self, line: str) -> int:
        number = max(self.running, default=0) + 1
        self.running[number] = _Program(line)
        return number

    def feed(self, number: int, data: bytes) -> int:
        """Bytes for its stdin; none at all closes it. How many were taken: fewer where it reads no more."""
        stdin = self.running[number].process.stdin
        assert stdin is not None
        try:
            if data:
                stdin.write(data)
                stdin.flush()
            else:
                stdin.close()
        except (BrokenPipeError, ValueError):
            return 0
        return len(data)

    def read(self, number: int, seconds: float) -> bytes:
        """What it has written, after `seconds` at most: JSON (bytes of stdout, of stderr, status), a newline, both."""
        out, error, status = self.running[number].take(seconds)
        if status is not None:
            self.stop(number)
        head = json.dumps({"out": len(out), "err": len(error), "status": status}).encode()
        return head + b"\n" + out + error

    def stop(self, number: int) -> None:
        """Close its stdin, which its watcher takes for the end."""
        program = self.running.pop(number, None)
        if program is not None and program.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and had not read all
                program.process.stdin.close()


class _Program:
    def __init__(self, line: str) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, close_fds=True,
        )  # fmt: skip
        self.news = threading.Condition()
        self.written = {"out": bytearray(), "err": bytearray()}
        self.open = 2
        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr)):
            threading.Thread(target=self.collect, args=(name, stream), daemon=True).start()

    def collect(self, name: str, stream: Any) -> None:
        while chunk := os.read(stream.fileno(), _CHUNK):
            with self.news:
                self.written[name] += chunk
                self.news.notify()
                while len(self.written[name]) > 64 * _CHUNK:  # a client that does not read holds the program up
                    self.news.wait()
        stream.close()
        with self.news:
            self.open -= 1
            self.news.notify()

    def take(self, seconds: float) -> tuple[bytes, bytes, int | None]:
        end = time.monotonic() + seconds
        with self.news:
            while self.open and not any(self.written.values()) and (left := end - time.monotonic()) > 0:
                self.news.wait(left)
            out, error = (bytes(self.written[name]) for name in ("out", "err"))
            for name in self.written:
                self.written[name].clear()
            self.news.notify_all()
            ended = not self.open
        return out, error, self.process.wait() if ended else None


def register(programs: Programs) -> None:
    """Make the functions known to TVM's server in this process."""
    import tvm_ffi

    functions = {
        "compress.start": programs.start,
        "compress.feed": lambda number, data: programs.feed(number, bytes(data)),
        "compress.read": lambda number, seconds: bytearray(programs.read(number, seconds)),
        "compress.stop": programs.stop,
    }
    for name, function in functions.items():
        tvm_ffi.register_global_func(name, function, override=True)


def main(arguments: list[str] | None = None) -> None:
    """Serve until killed. A session that ends badly costs that session, not the server."""
    parser = argparse.ArgumentParser(description="TVM's RPC server on loopback, with functions that run programs.")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--key", default="", help="what clients ask a tracker for, or this server")
    parser.add_argument("--tracker", help="HOST:PORT of a tracker to report to")
    given = parser.parse_args(arguments)
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # TVM would load it, for seconds and 200 MB
    from tvm.rpc.server import PopenRPCServerState

    register(Programs())
    tracker = None
    if given.tracker:
        host, _, port = given.tracker.rpartition(":")
        tracker = (host, int(port))
    while True:
        state = PopenRPCServerState(
            _HOST, given.port, given.port + 1, key=given.key, tracker_addr=tracker, custom_addr=_HOST, silent=True
        )
        print(f"listening on {_HOST}:{state.port}", flush=True)
        state.thread.join()
        state.sock.close()
        time.sleep(0.2)


if __name__ == "__main__":
    main()
