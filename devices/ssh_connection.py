"""One ssh connection that many commands share (ControlMaster), made by the user's own `ssh` and configuration.

The connection is a child process that ends when this one does: it runs `cat` there on a pipe that we hold. Keys, jump
hosts and host keys are ssh's business: nothing about them is overridden, a prompt becomes an error (BatchMode).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from compressor.devices.address import Address
from compressor.devices.processes import Lines, execute, kill_group
from compressor.devices.programs import command
from compressor.errors import DeviceError, DeviceLostError

__all__ = ["SSHConnection"]

_CONNECT = 60.0  # seconds until the connection stands, jump hosts and all
_LONGEST_SOCKET = 80  # a socket's path holds 104 bytes on some systems, and ssh adds a suffix of 17
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")
_READY = b"compress-ready"
_WAYS_OUT = {
    "host key verification failed": "Connect once by hand (`ssh {login}`) and compare the fingerprint it shows.",
    "permission denied": "Have a key there (`ssh-copy-id {login}`), unlocked by ssh-agent if it has a passphrase.",
    "could not resolve": "Look at the host's name, or give it one in ~/.ssh/config.",
    "connection refused": "Look whether its ssh server runs, and on which port.",
}
_OTHERWISE = "Try it by hand: `ssh {login} true`."


class SSHConnection:
    """A connection that stands. `close` ends it, and everything that was forwarded through it."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.target = f"{address.user}@{address.host}" if address.user else address.host
        self._ssh = command("ssh")
        self._options = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
        self._login = f"-p {address.port} {self.target}" if address.port else self.target  # as a user types it
        if address.port:
            self._options += ["-p", str(address.port)]
        self._folder = _short_folder()
        try:
            self._master = self._start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def argv(self, line: str) -> list[str]:
        """What runs a line in the device's shell. Raises DeviceLostError where the connection has ended."""
        if self._master.poll() is not None:
            raise DeviceLostError("the ssh connection has ended", where=self.url, way_out="Run the command again.")
        return [*self._ssh, *self._shared("no"), "-T", "--", self.target, line]

    def forward(self, host: str, port: int) -> int:
        """A port on this machine's loopback that leads to `host:port` as seen from there."""
        for _ in range(3):  # another process may take the port between the look and ssh's bind
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                local = int(probe.getsockname()[1])
            place = f"127.0.0.1:{local}:[{host}]:{port}"
            said = Lines()
            argv = [*self._ssh, *self._shared("no"), "-O", "forward", "-L", place, "--", self.target]
            ended = execute(argv, timeout=_CONNECT, on_stdout=said.feed, where=self.url)
            if not ended.status:
                return local
        raise DeviceError(f"ssh does not forward to {host}:{port}: {ended.stderr.strip()}", where=self.url)

    def close(self) -> None:
        kill_group(self._master)
        self._master.wait()
        for stream in (self._master.stdin, self._master.stdout, self._master.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _shared(self, master: str) -> list[str]:
        return [*self._options, "-o", f"ControlMaster={master}", "-o", f"ControlPath={self._folder / 's'}"]

    def _start(self) -> subprocess.Popen[bytes]:
        line = f"exec sh -c 'echo {_READY.decode()}; exec cat >/dev/null'"
        master = subprocess.Popen(
            [*self._ssh, *self._shared("yes"), "-T", "--", self.target, line],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        said = _await(master, _CONNECT)
        if _READY in said:
            return master
        self._master = master
        kill_group(master)
        assert master.stderr is not None
        error = master.stderr.read().decode(errors="replace").strip()
        self.close()
        if not error:
            error = f"no answer within {_CONNECT:g} s"
        hint = next((text for words, text in _WAYS_OUT.items() if words in error.lower()), _OTHERWISE)
        last = error.splitlines()[-1]
        raise DeviceError(f"cannot be reached: {last}", where=self.url, way_out=hint.format(login=self._login))


def _await(master: subprocess.Popen[bytes], seconds: float) -> bytes:
    """What the far end has printed, when the word has come, the connection has ended or the time is over."""
    assert master.stdout is not None
    said, end = b"", time.monotonic() + seconds
    while _READY not in said and (left := end - time.monotonic()) > 0:
        if select.select([master.stdout], [], [], left)[0]:
            chunk = os.read(master.stdout.fileno(), 4096)
            if not chunk:
                break
            said += chunk
    return said


def _short_folder() -> Path:
    """A folder for the socket. In an option ssh takes blanks for an end, and % and $ for something of its own."""
    folder = tempfile.mkdtemp(prefix="compress-ssh-")
    if (len(folder) > _LONGEST_SOCKET or not _PLAIN.fullmatch(folder)) and Path("/tmp").is_dir():
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="compress-ssh-", dir="/tmp")
    return Path(folder)
