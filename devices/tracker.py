"""TVM's RPC tracker, asked for a free board of a fleet by its key: magic number, then JSON with its length before it.

The protocol is that of tvm/rpc/tracker.py and base.py, spoken here with time-outs, which TVM's own client has none of.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

from compressor.errors import DeviceError, did_you_mean

__all__ = ["registered", "request"]

_MAGIC = 0x2F271
_REQUEST, _SUMMARY = 4, 6  # tvm.rpc.base.TrackerCode
_SHORT = 10.0  # seconds for what a tracker answers at once
_LONGEST = 1 << 24  # bytes of an answer


def request(host: str, port: int, key: str, *, timeout: float, where: str) -> tuple[str, int, str] | None:
    """Host, port and key of a board that is now ours; None where it is no tracker that listens there.

    Waits up to `timeout` seconds for one to be free. Raises DeviceError where nobody listens, no board has that key,
    or none becomes free.
    """
    late = f"no board {key!r} is free within {timeout:g} s"
    with _telling(late, where), socket.create_connection((host, port), timeout=_SHORT) as peer:
        known = _keys(peer)
        if known is None:
            return None
        if key not in known:
            hint = did_you_mean(key, sorted(set(known))) if known else "None have."
            raise DeviceError(f"no board has reported to the tracker as {key!r}", where=where, way_out=hint)
        peer.settimeout(timeout)
        found, free, match = _ask(peer, [_REQUEST, key, "", 1])
        return str(found), int(free), str(match)


def registered(host: str, port: int, *, where: str) -> list[str] | None:
    """The keys of the boards that have reported to a tracker, each as often as there are boards; None where it is no
    tracker that listens there. Raises DeviceError where nobody does."""
    with (
        _telling("the tracker does not answer", where),
        socket.create_connection((host, port), timeout=_SHORT) as peer,
    ):
        return _keys(peer)


@contextlib.contextmanager
def _telling(late: str, where: str) -> Iterator[None]:
    """What goes wrong with a connection as errors of ours; `late` is said where an answer does not come in time."""
    try:
        yield
    except TimeoutError:
        way_out = "Wait for another's session to end, or allow more time."
        raise DeviceError(late, where=where, way_out=way_out) from None
    except OSError as error:
        way_out = "Look whether the server or tracker runs there, and on which port."
        raise DeviceError(f"cannot be reached: {error}", where=where, way_out=way_out) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise DeviceError(f"the tracker's answer cannot be read: {error}", where=where) from error


def _keys(peer: socket.socket) -> list[str] | None:
    """The keys of the boards that have reported; None from what is no tracker."""
    peer.sendall(struct.pack("<i", _MAGIC))
    if not _is_tracker(peer):
        return None
    return sorted(entry["key"].removeprefix("server:") for entry in _ask(peer, [_SUMMARY])["server_info"])


def _is_tracker(peer: socket.socket) -> bool:
    """A tracker repeats its magic number; a server hangs up."""
    try:
        return bool(_take(peer, 4) == struct.pack("<i", _MAGIC))
    except ConnectionError:
        return False


def _ask(peer: socket.socket, question: list[Any]) -> Any:
    data = json.dumps(question).encode()
    peer.sendall(struct.pack("<i", len(data)) + data)
    (length,) = struct.unpack("<i", _take(peer, 4))
    if not 0 <= length <= _LONGEST:
        raise ValueError(f"{length} bytes")
    status, answer = json.loads(_take(peer, length))
    if status:
        raise ValueError(f"status {status}")
    return answer


def _take(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = peer.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError("the connection ended")
        data += chunk
    return data
