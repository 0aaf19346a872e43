"""The tracker's protocol, against a stand-in that says what a test wants."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from loopback_ssh import free_port

from compressor.devices.tracker import registered, request
from compressor.errors import DeviceError

MAGIC = struct.pack("<i", 0x2F271)


def _json(value: object) -> bytes:
    data = json.dumps(value).encode()
    return struct.pack("<i", len(data)) + data


SUMMARY = _json([0, {"server_info": [{"key": "server:pi5"}], "queue_info": {}}])


@contextmanager
def _saying(*answers: bytes) -> Iterator[int]:
    """Listens, and sends one answer for each message, then waits for the other side to go."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                for answer in answers:
                    peer.recv(4096)
                    peer.sendall(answer)
                if answers:
                    peer.settimeout(10)
                    while peer.recv(4096):
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def _request(port: int, key: str = "pi5") -> tuple[str, int, str] | None:
    return request("127.0.0.1", port, key, timeout=0.3, where="rpc://x")


def test_all_boards_are_told_by_their_keys() -> None:
    summary = _json([0, {"server_info": [{"key": f"server:{key}"} for key in ("pi5", "pi4", "pi5")]}])
    with _saying(MAGIC, summary) as port:
        assert registered("127.0.0.1", port, where="rpc://x") == ["pi4", "pi5", "pi5"]
    with _saying() as port:
        assert registered("127.0.0.1", port, where="rpc://x") is None
    with pytest.raises(DeviceError, match="cannot be reached"):
        registered("127.0.0.1", free_port(), where="rpc://x")


def test_a_board_is_given() -> None:
    with _saying(MAGIC, SUMMARY, _json([0, ["127.0.0.1", 9091, "pi5:0.5"]])) as port:
        assert _request(port) == ("127.0.0.1", 9091, "pi5:0.5")


def test_a_server_that_hangs_up_is_no_tracker() -> None:
    with _saying() as port:
        assert _request(port) is None


def test_an_unknown_key_is_told_the_nearest() -> None:
    with _saying(MAGIC, SUMMARY) as port, pytest.raises(DeviceError, match=r"'pi6'.*\n.*pi5"):
        _request(port, "pi6")


def test_a_board_that_does_not_become_free_is_told() -> None:
    with _saying(MAGIC, SUMMARY) as port, pytest.raises(DeviceError, match=r"free within 0\.3 s"):
        _request(port)


@pytest.mark.parametrize(
    "answer",
    [
        _json([1, {}]),
        _json({}),
        _json([0, []]),
        struct.pack("<i", -1),
        struct.pack("<i", 1) + b"{",
        _json([0, {"server_info": [{"key": 1}]}]),
        struct.pack("<i", 100_000) + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with _saying(MAGIC, answer) as port, pytest.raises(DeviceError, match="cannot be read"):
        _request(port)


def test_nobody_there() -> None:
    with pytest.raises(DeviceError, match="cannot be reached"):
        _request(free_port())
