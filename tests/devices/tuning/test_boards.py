"""Where functions are timed: here, on a board behind RPC, on a tracker's boards; nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback_rpc import board
from tuned import bench, product

from compressor.devices.tuning.boards import Here, open_boards
from compressor.errors import DeviceError


@pytest.mark.parametrize("url", [None, "local"])
def test_this_machine(url: str | None) -> None:
    with open_boards(url) as boards:
        assert isinstance(boards, Here)
        assert (boards.count, boards.place()) == (1, None)


@pytest.mark.parametrize("url", ["ssh://user@board", "adb://serial", "qemu://cortex-a76"])
def test_others_are_told_how_they_could_be(url: str) -> None:
    with pytest.raises(DeviceError, match=r"rpc_server\.py"):
        open_boards(url)


def test_a_board_behind_rpc_is_timed_on(tmp_path: Path) -> None:
    with board() as server, open_boards(server.url) as boards, bench(tmp_path, boards) as timed:
        assert boards.count == 1
        found = timed.seconds([product(), product(rows=9)], rounds=2, least=1e-4)
        assert all(len(each.times) == 2 and each.least > 0 for each in found)
        arrays = timed.arrays([product()], seed=0)[0]
        assert not isinstance(arrays, str)
        x, w, y = arrays
        assert abs(y - (x @ w).clip(0)).max() < 1e-4


def test_a_server_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    with board() as server, open_boards(server.url) as boards, bench(tmp_path, boards) as timed:
        assert timed.seconds([product()], rounds=1, least=1e-4)[0].times
        server.kill()
        assert timed.seconds([product(rows=9)], rounds=1, least=1e-4)[0].fault
