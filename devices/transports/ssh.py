"""A device reached by ssh: the user's own `ssh`, keys, jump hosts and ~/.ssh/config; files go by tar through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from compressor.devices.address import Address
from compressor.devices.processes import Ended, execute
from compressor.devices.shell import ShellDevice
from compressor.devices.ssh_connection import SSHConnection

__all__ = ["SSHDevice"]


class SSHDevice(ShellDevice):
    """A machine with an ssh server, a POSIX shell and tar. Raises DeviceError where it cannot be reached."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.python = (address.options.get("python", "python3"),)
        self._connection = SSHConnection(address)

    def _execute(
        self,
        line: str,
        *,
        timeout: float,
        on_stdout: Callable[[bytes], None],
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Ended:
        argv = self._connection.argv(line)
        return execute(argv, timeout=timeout, on_stdout=on_stdout, feed=feed, where=self.url)

    def close(self) -> None:
        self._connection.close()
