"""The way to a server: itself, or one of a tracker's boards; never past loopback."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from loopback_rpc import board, tracker
from loopback_ssh import free_port
from tuned import bench, product

from compressor.devices.address import parse_address
from compressor.devices.transports.rpc_route import Route
from compressor.devices.tuning.boards import open_boards
from compressor.errors import DeviceError


def test_a_server_is_itself() -> None:
    route = Route(parse_address("rpc://127.0.0.1:9090"))
    assert route.find() == ("127.0.0.1", 9090, "")
    assert route.count() == 1
    route.close()


def test_a_server_with_a_key_says_that_it_is_no_tracker() -> None:
    with board("--key", "pi5") as server:
        route = Route(parse_address(f"{server.url}/pi5"))
        assert route.find() == ("127.0.0.1", server.port, "pi5")
        assert route.count() == 1


def test_nobody_is_there() -> None:
    route = Route(parse_address(f"rpc://127.0.0.1:{free_port()}/key"))
    with pytest.raises(DeviceError, match="cannot be reached"):
        route.find()
    with pytest.raises(DeviceError, match="cannot be reached"):
        route.count()


def test_all_boards_of_a_tracker_work_side_by_side(tmp_path: Path) -> None:
    with tracker() as port:
        told = ("--key", "pi5", "--tracker", f"127.0.0.1:{port}")
        with board(*told), board(*told):
            _wait_for(Route(parse_address(f"rpc://127.0.0.1:{port}/pi5")), boards=2)
            with open_boards(f"rpc://127.0.0.1:{port}/pi5") as boards, bench(tmp_path, boards) as timed:
                assert boards.count == 2
                functions = [product(rows=rows) for rows in (3, 4, 5, 6)]
                assert all(each.times for each in timed.seconds(functions, rounds=1, least=1e-4))
            with pytest.raises(DeviceError, match="pi4"):
                Route(parse_address(f"rpc://127.0.0.1:{port}/pi4")).find()


def _wait_for(route: Route, boards: int) -> None:
    """The tracker starts, and boards report to it, in their own time."""
    for _ in range(100):
        with contextlib.suppress(DeviceError):
            if route.count() == boards:
                return
        time.sleep(0.2)
    pytest.fail("they have not reported")
