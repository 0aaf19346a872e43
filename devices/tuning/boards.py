"""Where functions are timed: this machine, a board behind TVM's RPC, or all boards that a tracker has of a key.

    local  ·  rpc://localhost:9090[/key][?via=ssh://…]   a server, or a tracker: it says so itself, as for `--device`

A tracker's boards are asked for one at a time and given back after each timing, so that many work side by side.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from compressor.devices.address import Address
from compressor.devices.opening import find_address
from compressor.devices.transports.rpc_route import Route
from compressor.errors import DeviceError

__all__ = ["Boards", "Here", "Place", "board_address", "open_boards"]

Place = tuple[str, int, str] | None  # host, port and key of a session; None is this machine


class Boards(Protocol):
    """What may be timed on at once, and where the next timing goes. Use it in a `with`."""

    @property
    def count(self) -> int:
        """How many work side by side."""

    def place(self) -> Place:
        """A free one. Raises DeviceError where none becomes free."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Here:
    """This machine."""

    count = 1

    def place(self) -> Place:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""


class _Remote:
    def __init__(self, route: Route) -> None:
        self.route, self.count = route, route.count()

    def place(self) -> Place:
        return self.route.find()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.route.close()


def open_boards(url_or_name: str | None) -> Boards:
    """Where `--device` says; None is this machine. Raises DeviceError for a device that functions are not timed on."""
    address = board_address(url_or_name)
    return Here() if address is None else _Remote(Route(address))


def board_address(url_or_name: str | None) -> Address | None:
    """What `--device` means, None for this machine; nothing is reached. Raises DeviceError as `open_boards`."""
    address = find_address(url_or_name or "local")
    if address.kind not in ("local", "rpc"):
        raise DeviceError(
            f"tuning reaches a board by TVM's RPC, not by {address.kind}", where=address.url,
            way_out="Start devices/transports/rpc_server.py there; --device 'rpc://localhost:9090?via=ssh://user@board'.",
        )  # fmt: skip
    return None if address.kind == "local" else address
