"""The way to a server of TVM's RPC: itself, one that a tracker knows, or one behind an ssh tunnel.

RPC has no authentication, so only loopback is spoken to: the server itself where it is on this machine, or the end of
an ssh tunnel (`?via=ssh://user@host`). With a key, the port is a tracker's or a server's; which, it tells itself.
"""

from __future__ import annotations

from compressor.devices.address import LOOPBACK, Address, parse_address
from compressor.devices.ssh_connection import SSHConnection
from compressor.devices.tracker import registered, request
from compressor.errors import DeviceError

__all__ = ["Route"]

_WAIT = 30.0  # seconds until a board of a tracker's is free; another's session makes it wait


class Route:
    """The way to where `address` says. Raises DeviceError where its tunnel cannot be made."""

    def __init__(self, address: Address) -> None:
        self._address, self._where = address, address.url
        via = address.options.get("via")
        self._tunnel = None if via is None else SSHConnection(parse_address(via))

    def find(self, timeout: float = _WAIT) -> tuple[str, int, str]:
        """Host, port and key to connect with now; of a tracker's boards, one that is free.

        Raises DeviceError where it cannot be reached, or none becomes free in `timeout` seconds.
        """
        address = self._address
        host, port = self._through(address.host, address.port)
        board = request(host, port, address.key, timeout=timeout, where=self._where) if address.key else None
        if board is None:
            return host, port, address.key
        return (*self._through(board[0], board[1]), board[2])

    def count(self) -> int:
        """How many boards there are: those of a tracker with this key, else one. Raises DeviceError as `find`."""
        address = self._address
        if not address.key:
            return 1
        known = registered(*self._through(address.host, address.port), where=self._where)
        return 1 if known is None else max(1, known.count(address.key))

    def close(self) -> None:
        """Take the tunnel down."""
        if self._tunnel is not None:
            self._tunnel.close()
            self._tunnel = None

    def _through(self, host: str, port: int) -> tuple[str, int]:
        if self._tunnel is not None:
            return "127.0.0.1", self._tunnel.forward(host, port)
        if host not in LOOPBACK:
            raise DeviceError(
                f"the tracker's board is at {host}, and RPC has no authentication", where=self._where,
                way_out="Go through ssh: add ?via=ssh://user@host of a machine beside it.",
            )  # fmt: skip
        return host, port
