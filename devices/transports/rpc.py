"""A device reached by TVM's RPC: `rpc_server.py` runs there, alone or as one of a tracker's fleet.

`rpc_route.py` finds the way to it. One session at a time has a board. TVM's calls know no time-outs: each is made in a
thread that is given up when it does not return.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import IO, Any, cast

from compressor.devices.address import Address
from compressor.devices.processes import Ended, Lines
from compressor.devices.shell import ShellDevice
from compressor.devices.transports.rpc_route import Route
from compressor.errors import DeviceError, DeviceLostError

__all__ = ["RPCDevice"]

_CONNECT = 30.0  # seconds until a session stands; another's session makes it wait
_ANSWER = 30.0  # seconds for a call that should return at once
_WAIT = 1.0  # seconds that a look for output may wait for some
_CHUNK = 1 << 18


class RPCDevice(ShellDevice):
    """A board with `rpc_server.py` on it. Raises DeviceError where it cannot be reached, or apache-tvm is missing."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.python = (address.options.get("python", "python3"),)
        self._route: Route | None = None
        self._dead = False
        connect = _client(self.url)
        try:
            self._route = Route(address)
            host, port, key = self._route.find(_CONNECT)
            session = self._connected(lambda: connect(host, port, key))
            self._functions = {name: self._function(session, name) for name in ("start", "feed", "read", "stop")}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._functions = {}  # the session ends with the last that holds it
        if self._route is not None:
            self._route.close()

    def _connected(self, connect: Callable[[], Any]) -> Any:
        try:
            return _within(_CONNECT, connect)
        except TimeoutError:
            what = f"no session within {_CONNECT:g} s"
            way_out = "Another's session may have the board; wait for its end."
        except Exception as error:  # noqa: BLE001  TVM raises what it likes
            what = f"cannot be reached: {_first_line(error)}"
            way_out = "Look whether rpc_server.py runs there, on which port and with which key."
        raise DeviceError(what, where=self.url, way_out=way_out)

    def _function(self, session: Any, name: str) -> Callable[..., Any]:
        try:
            return cast(Callable[..., Any], _within(_ANSWER, lambda: session.get_function(f"compress.{name}")))
        except Exception as error:
            raise DeviceError(
                "its server is TVM's own and cannot run programs", where=self.url,
                way_out="Start compressor/devices/transports/rpc_server.py there: one file, which needs apache-tvm.",
            ) from error  # fmt: skip

    def _execute(
        self,
        line: str,
        *,
        timeout: float,
        on_stdout: Callable[[bytes], None],
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Ended:
        deadline = time.monotonic() + timeout
        errors = Lines()
        number = int(self._call("start", line))
        try:
            if feed is not None:
                self._feed(number, feed, deadline, timeout)
            while (status := self._read(number, deadline, timeout, on_stdout, errors)) is None:
                continue
        except BaseException:
            if not self._dead:
                self._call("stop", number)
            raise
        return Ended(status if status >= 0 else 128 - status, errors.text)

    def _feed(self, number: int, feed: Callable[[IO[bytes]], None], deadline: float, timeout: float) -> None:
        def take(data: bytes) -> None:
            for start in range(0, len(data), _CHUNK):
                self._in_time(deadline, timeout)
                if not int(self._call("feed", number, bytearray(data[start : start + _CHUNK]))):
                    raise BrokenPipeError

        try:
            feed(cast(IO[bytes], _Stdin(take)))
            self._call("feed", number, bytearray())
        except BrokenPipeError:
            return  # it ended early; its status says why

    def _read(
        self, number: int, deadline: float, timeout: float, on_stdout: Callable[[bytes], None], errors: Lines
    ) -> int | None:
        """Hand over what it has written; its status when it has ended."""
        left = self._in_time(deadline, timeout)
        out, error, status = _written(bytes(self._call("read", number, min(_WAIT, left))), self.url)
        if out:
            on_stdout(out)
        errors.feed(error)
        return status

    def _in_time(self, deadline: float, timeout: float) -> float:
        """Seconds that are left. Raises DeviceLostError where there are none."""
        if (left := deadline - time.monotonic()) > 0:
            return left
        raise DeviceLostError(
            f"no answer within {timeout:g} s", where=self.url, way_out="Look at the device, or allow more time."
        )

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._dead or not self._functions:
            raise DeviceLostError("the session has ended", where=self.url, way_out="Run the command again.")
        try:
            return _within(_ANSWER, lambda: self._functions[name](*arguments))
        except Exception as error:
            self._dead = True
            raise DeviceLostError(
                f"the session was lost: {_first_line(error)}", where=self.url, way_out="Look whether its server runs."
            ) from error


def _written(answer: bytes, where: str) -> tuple[bytes, bytes, int | None]:
    """stdout, stderr and status from what `rpc_server.py` answers. Raises DeviceError for what it never would."""
    head, _, body = answer.partition(b"\n")
    try:
        found = json.loads(head)
        out, status = found["out"], found["status"]
    except (ValueError, KeyError, TypeError, RecursionError):
        out = status = ""
    if type(out) is not int or not 0 <= out <= len(body) or not (status is None or type(status) is int):
        raise DeviceError(f"its server's answer makes no sense: {head[:80]!r}", where=where)
    return body[:out], body[out:], status


class _Stdin:
    """What a program is fed through: enough of a file to be written to."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.write = take

    def flush(self) -> None:
        """Nothing is held back."""


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What a call returns or raises. Raises TimeoutError where it does neither in time; its thread is given up."""
    outcome: list[tuple[bool, Any]] = []

    def work() -> None:
        try:
            outcome.append((True, call()))
        except BaseException as error:  # noqa: BLE001  raised again below
            outcome.append((False, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    done, result = outcome[0]
    if not done:
        raise result
    return result


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _client(where: str) -> Callable[[str, int, str], Any]:
    try:
        from tvm import rpc
    except ImportError as error:
        raise DeviceError(
            f"apache-tvm is not installed here: {error}", where=where, way_out='pip install "edge-compressor[tvm]"'
        ) from error
    return cast(Callable[[str, int, str], Any], rpc.connect)
