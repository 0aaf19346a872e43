"""A device reached by TVM's RPC: real servers on loopback, skipped where apache-tvm is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_rpc import Board, board, tracker
from loopback_ssh import free_port, serve
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.opening import open_device
from compressor.devices.transports import rpc, rpc_server
from compressor.errors import DeviceError, DeviceLostError

needs_tvm = pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="needs apache-tvm (the tvm extra)")
PYTHON = f"python={sys.executable}"


@pytest.fixture(scope="module")
def opened() -> Iterator[Device]:
    with board() as running, open_device(f"{running.url}?{PYTHON}") as device:
        yield device


@pytest.fixture(scope="module")
def beside() -> Iterator[Board]:
    """Another server on the same board: a board's server has one session at a time."""
    with board() as running:
        yield running


@needs_tvm
class TestRPC(Contract):
    @pytest.fixture
    def device(self, opened: Device, beside: Board) -> Device:
        self.beside = beside
        return opened

    def second(self, device: Device) -> Device:
        return open_device(f"{self.beside.url}?{PYTHON}")


@needs_tvm
def test_a_servers_key_has_to_be_right_and_its_end_loses_the_device() -> None:
    with board("--key", "pi5") as running:
        port = running.port
        with pytest.raises(DeviceError, match="cannot be reached"):
            open_device(f"rpc://localhost:{port}/pi4")
        with open_device(f"rpc://localhost:{port}/pi5") as device:

            def on_line(_: str) -> None:
                running.kill()

            with pytest.raises(DeviceLostError, match="lost"):
                device.run(["sh", "-c", "echo up; sleep 600"], timeout=60, on_line=on_line)
            with pytest.raises(DeviceLostError, match="ended"):
                device.run(["true"], timeout=60)


@needs_tvm
def test_a_tracker_gives_a_board_of_that_key() -> None:
    with tracker() as port, board("--key", "pi5", "--tracker", f"127.0.0.1:{port}"):
        device = _retried(f"rpc://127.0.0.1:{port}/pi5")
        with device:
            assert device.run(["echo", "fleet"], timeout=30).stdout == "fleet\n"
        with pytest.raises(DeviceError, match=r"'pi4'.*\n.*pi5"):
            open_device(f"rpc://127.0.0.1:{port}/pi4")


def _retried(url: str) -> Device:
    """The tracker starts, and the board reports to it, in their own time."""
    import time

    for _ in range(100):
        try:
            return open_device(url)
        except DeviceError:
            time.sleep(0.2)
    return open_device(url)


@needs_tvm
def test_through_ssh(monkeypatch: pytest.MonkeyPatch, beside: Board) -> None:
    with serve() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with open_device(f"rpc://localhost:{beside.port}?via={server.url}") as device:
            assert device.run(["echo", "tunnelled"], timeout=30).stdout == "tunnelled\n"


def test_tvms_own_server_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def get_function(self, name: str) -> None:
            raise AttributeError(f"Module has no function '{name}'")  # what TVM's client raises

    monkeypatch.setattr(rpc, "_client", lambda where: lambda *_: Session())
    with pytest.raises(DeviceError, match=r"cannot run programs.*\n.*rpc_server\.py"):
        open_device("rpc://127.0.0.1:9090")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"{}\n", b"[1]\n", b"[" * 100_000, b'{"out": 5, "status": null}\nabc', b'{"out": -1, "status": 0}\nabc',
        b'{"out": "1", "status": 0}\nabc', b'{"out": 1, "status": "0"}\nabc',
    ],
)  # fmt: skip
def test_a_server_that_answers_nonsense_is_told(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    functions = {"compress.start": lambda line: 1, "compress.read": lambda number, seconds: answer}

    class Session:
        def get_function(self, name: str) -> object:
            return functions.get(name, lambda *_: 0)

    monkeypatch.setattr(rpc, "_client", lambda where: lambda *_: Session())
    with open_device("rpc://localhost:9090") as device, pytest.raises(DeviceError, match="makes no sense"):
        device.run(["true"], timeout=10)


@needs_tvm
def test_nobody_there() -> None:
    with pytest.raises(DeviceError, match="cannot be reached"):
        open_device(f"rpc://127.0.0.1:{free_port()}/key")


def test_without_tvm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    with pytest.raises(DeviceError, match=r"apache-tvm.*\n.*edge-compressor\[tvm\]"):
        open_device("rpc://127.0.0.1:9090")


def test_a_call_that_does_not_return_is_given_up() -> None:
    import threading

    gate = threading.Event()
    with pytest.raises(TimeoutError):
        rpc._within(0.05, gate.wait)
    gate.set()
    with pytest.raises(KeyError):
        rpc._within(5, lambda: {}["x"])
    assert rpc._within(5, lambda: 3) == 3
    assert Path(rpc_server.__file__).is_file()
