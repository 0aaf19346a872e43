"""This machine as a board by every transport: what a test of all of them asks for, and how each is lost.

A board's temporary folder is its own, so that what a run leaves there is seen.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loopback_adb import plugged_in
from loopback_rpc import board
from loopback_ssh import serve

from compressor.devices.emulation.root import find_root

__all__ = ["TRANSPORTS", "LoopbackBoard", "loopback_board", "processes"]

_PYTHON = f"?python={sys.executable}"


@dataclass(frozen=True)
class LoopbackBoard:
    """`environment` is what leads `compress` to it, `vanish` loses it in the middle, `return_` brings it back."""

    url: str
    temporary: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    vanish: Callable[[], None] = lambda: None
    return_: Callable[[], None] = lambda: None
    timed: bool = True


@contextlib.contextmanager
def loopback_board(transport: str) -> Iterator[LoopbackBoard]:
    """One of TRANSPORTS. Skips with the reason where it cannot be had."""
    with tempfile.TemporaryDirectory(prefix="compress-board-") as temporary:
        yield from TRANSPORTS[transport](Path(temporary).resolve())


def processes(temporary: Path) -> list[int]:
    """Processes that were started with a file of a run's folder there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if f"{temporary}/compress-" in entry.read_text(errors="replace"):
                found.append(int(entry.parent.name))
    return found


def _local(temporary: Path) -> Iterator[LoopbackBoard]:
    def vanish() -> None:
        """It cannot be lost; its runner can be killed."""
        for process in processes(temporary):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    yield LoopbackBoard("local", temporary, {"TMPDIR": str(temporary)}, vanish)


def _ssh(temporary: Path) -> Iterator[LoopbackBoard]:
    with serve(f"SetEnv TMPDIR={temporary}") as server:
        yield LoopbackBoard(server.url + _PYTHON, temporary, server.environment, server.hang_up)


def _adb(temporary: Path) -> Iterator[LoopbackBoard]:
    with plugged_in() as device:
        yield LoopbackBoard(device.url + _PYTHON, device.storage, device.environment, device.replug, device.replug)


def _rpc(temporary: Path) -> Iterator[LoopbackBoard]:
    if importlib.util.find_spec("tvm") is None:
        pytest.skip("needs apache-tvm (the tvm extra)")
    with board(environment={"TMPDIR": str(temporary)}) as running:
        yield LoopbackBoard(running.url + _PYTHON, temporary, {}, running.kill, running.start)


def _tunnelled(temporary: Path) -> Iterator[LoopbackBoard]:
    """RPC through ssh; what is lost is the tunnel."""
    with contextlib.contextmanager(_rpc)(temporary) as reached, serve() as server:
        url = f"{reached.url}&via={server.url}"
        yield LoopbackBoard(url, temporary, server.environment, server.hang_up)


def _emulated(cpu: str) -> Callable[[Path], Iterator[LoopbackBoard]]:
    def reach(temporary: Path) -> Iterator[LoopbackBoard]:
        if find_root() is None:
            pytest.skip("run `compress devices setup qemu`")
        yield LoopbackBoard(f"qemu://{cpu}", temporary, {"TMPDIR": str(temporary)}, timed=False)

    return reach


TRANSPORTS: Mapping[str, Callable[[Path], Iterator[LoopbackBoard]]] = {
    "local": _local, "ssh": _ssh, "adb": _adb, "rpc": _rpc, "rpc through ssh": _tunnelled,
    "qemu a72": _emulated("cortex-a72"), "qemu a76": _emulated("cortex-a76"),
}  # fmt: skip
