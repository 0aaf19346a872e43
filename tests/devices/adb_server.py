"""A stand-in for adb's server and one device behind it: what the real client asks of them, run on this machine.

    python adb_server.py PORT SERIAL STORAGE [FEATURE…]

It speaks the host protocol (version, features, state, devices, transport), sync (STAT, LIST, SEND, RECV) and shell v2,
as platform/packages/modules/adb's OVERVIEW.TXT, SERVICES.TXT and SYNC.TXT describe them. It listens on loopback only.
The folder STORAGE stands for /data/local/tmp. SIGUSR1 pulls the device's cable, or plugs it in again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, ClassVar

TEMPORARY = "/data/local/tmp"
VERSION = 41  # of the protocol; a client of another number would replace the server by its own
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Connection(socketserver.StreamRequestHandler):
    serial: ClassVar[str]
    storage: ClassVar[str]
    features: ClassVar[list[str]]
    plugged: ClassVar[bool] = True
    open: ClassVar[set[socket.socket]] = set()

    def handle(self) -> None:
        self.open.add(self.request)
        try:
            while self.request_line():
                continue
        except (OSError, EOFError, ValueError):  # the last: of a stream that is closed
            return
        finally:
            self.open.discard(self.request)

    @classmethod
    def replug(cls) -> None:
        """Pull the cable: whoever speaks with the device is cut off, and it is not found any more. Or plug it in."""
        cls.plugged = not cls.plugged
        if not cls.plugged:
            for request in list(cls.open):
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def request_line(self) -> bool:
        """Answer one request; whether the connection goes on to another."""
        request = self.take(int(self.take(4), 16)).decode()
        name = request.removeprefix(f"host-serial:{self.serial}:").removeprefix("host:")
        if name == "version":
            self.answer(f"{VERSION:04x}")
        elif not self.plugged and not name.startswith("devices"):
            self.refuse(f"device '{self.serial}' not found")
        elif name in ("features", "host-features"):
            self.answer(",".join(self.features))
        elif name == "get-state":
            self.answer("device")
        elif name in ("devices", "devices-l"):
            self.answer(f"{self.serial}\tdevice\n" * self.plugged + "busy0\tunauthorized\n")
        elif name == f"tport:serial:{self.serial}":
            self.wfile.write(b"OKAY" + struct.pack("<Q", 1))
            return True
        elif name == f"transport:{self.serial}":
            self.wfile.write(b"OKAY")
            return True
        elif name == "sync:":
            self.wfile.write(b"OKAY")
            while self.sync():
                continue
        elif name.startswith("shell,v2"):
            self.wfile.write(b"OKAY")
            self.shell(name.partition(":")[2])
        else:
            self.refuse(f"device '{request.split(':')[-1]}' not found" if "port:" in request else f"unknown: {request}")
        return False

    def refuse(self, text: str) -> None:
        self.wfile.write(b"FAIL" + f"{len(text):04x}{text}".encode())

    def answer(self, text: str) -> None:
        self.wfile.write(b"OKAY" + f"{len(text):04x}{text}".encode())

    def take(self, count: int) -> bytes:
        data = self.rfile.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def sync(self) -> bool:
        kind, length = struct.unpack("<4sI", self.take(8))
        path = self.here(self.take(length).decode()) if kind != b"QUIT" else ""
        if kind == b"STAT":
            self.wfile.write(b"STAT" + self.stat(path))
        elif kind == b"LIST":
            for name in os.listdir(path) if os.path.isdir(path) else []:
                encoded = name.encode()
                entry = self.stat(f"{path}/{name}")
                self.wfile.write(b"DENT" + entry + struct.pack("<I", len(encoded)) + encoded)
            self.wfile.write(b"DONE" + bytes(16))
        elif kind == b"SEND":
            self.send(*path.rsplit(",", 1))
        elif kind == b"RECV":
            self.receive(path)
        return kind != b"QUIT"

    def here(self, text: str) -> str:
        """A path or a line of the shell, as this machine has it."""
        return text.replace(TEMPORARY, self.storage)

    def stat(self, path: str) -> bytes:
        try:
            found = os.stat(path)
        except OSError:
            return bytes(12)
        return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))

    def send(self, path: str, mode: str) -> None:
        chunks = bytearray()
        while True:
            kind, length = struct.unpack("<4sI", self.take(8))
            if kind == b"DONE":
                break
            chunks += self.take(length)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(chunks)
            os.chmod(path, int(mode) & 0o777)
        except OSError as error:
            self.fail(str(error))
        else:
            self.wfile.write(b"OKAY" + bytes(4))

    def receive(self, path: str) -> None:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            self.fail(str(error))
            return
        for start in range(0, len(content), 1 << 16):
            chunk = content[start : start + (1 << 16)]
            self.wfile.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        self.wfile.write(b"DONE" + bytes(4))

    def fail(self, text: str) -> None:
        self.wfile.write(b"FAIL" + struct.pack("<I", len(text.encode())) + text.encode())

    def shell(self, line: str) -> None:
        process = subprocess.Popen(
            ["sh", "-c", self.here(line)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, env={**os.environ, "ANDROID_DATA": "/data"},
        )  # fmt: skip
        lock = threading.Lock()
        pumps = [
            threading.Thread(target=self.pump, args=(kind, stream, lock))
            for kind, stream in ((STDOUT, process.stdout), (STDERR, process.stderr))
        ]
        for pump in pumps:
            pump.start()
        threading.Thread(target=self.feed, args=(process,), daemon=True).start()
        for pump in pumps:
            pump.join()
        status = process.wait()
        with contextlib.suppress(OSError):
            self.packet(EXIT, bytes([status & 0xFF]), lock)
            self.request.shutdown(socket.SHUT_RDWR)  # lets `feed` go

    def pump(self, kind: int, stream: IO[bytes], lock: threading.Lock) -> None:
        with stream, contextlib.suppress(OSError, ValueError):
            while chunk := os.read(stream.fileno(), 1 << 15):
                self.packet(kind, chunk, lock)

    def packet(self, kind: int, data: bytes, lock: threading.Lock) -> None:
        with lock:
            self.wfile.write(struct.pack("<BI", kind, len(data)) + data)

    def feed(self, process: subprocess.Popen[bytes]) -> None:
        """The client's stdin to the program, until either ends; as adbd does, its end is passed on."""
        assert process.stdin is not None
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                kind, length = struct.unpack("<BI", self.take(5))
                data = self.take(length)
                if kind == CLOSE_STDIN:
                    break
                if kind == STDIN:
                    process.stdin.write(data)
                    process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is no fault."""


def main(port: str, serial: str, storage: str, *features: str) -> None:
    Connection.serial, Connection.storage, Connection.features = serial, storage, list(features)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR1, lambda *_: Connection.replug())
    with Server(("127.0.0.1", int(port)), Connection) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
