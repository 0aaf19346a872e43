"""The board of `--device`: reached before anything slow, and never the end of a run where it fails later."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from boards import board as made_up
from bundles import off_golden
from loopback_boards import loopback_board
from measured import QUICK, given
from own_device import OwnDevice, counting

from compressor import board
from compressor.board import Board, reach
from compressor.devices.journal import Journal
from compressor.errors import DeviceError, MismatchError
from compressor.graph.contract import Progress


@pytest.fixture(scope="module")
def pair(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    other = tmp_path_factory.mktemp("bundles") / "other"
    shutil.copytree(digits_bundle, other)
    return [digits_bundle, other]


def _board(device: OwnDevice, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    given(monkeypatch, device)
    return Board(device.url, device.describe(), QUICK(threads=1), folder)


def test_a_board_that_is_there_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = OwnDevice()
    given(monkeypatch, device)
    found = reach("own", made_up(), tmp_path, batch=2, threads=None, progress=Progress())
    assert (found.limits.batch, found.limits.threads, found.times) == (2, 2, True)
    assert device.tasks == ["check"], "its runtime was asked for"


def test_what_cannot_stand_for_the_target_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"batch": 1, "threads": 1, "progress": Progress()}
    given(monkeypatch, OwnDevice())
    with pytest.raises(DeviceError, match="it is x86_64, and board is aarch64"):
        reach("own", made_up(arch="aarch64"), tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="has no TensorrtExecutionProvider"):
        reach("own", made_up("TensorrtExecutionProvider"), tmp_path, **options)  # type: ignore[arg-type]
    given(monkeypatch, OwnDevice(python=("no-such-python",)))
    with pytest.raises((DeviceError, FileNotFoundError)):
        reach("own", made_up(), tmp_path, **options)  # type: ignore[arg-type]


def test_bundles_are_measured_in_turn(pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _board(OwnDevice(), tmp_path, monkeypatch).compare(pair)
    first, second = found.measurements
    assert len(first.rounds) == len(second.rounds) >= 6
    for each in (first, second):
        assert 0 < each.min <= each.p50 <= each.p90
        assert each.runtime.startswith("onnxruntime")
        assert each.threads == 1
    assert found.answers == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_board_that_is_lost_for_a_moment_goes_on(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = iter([OwnDevice(lost_after=5), OwnDevice()])
    found = _board(OwnDevice(), tmp_path, monkeypatch)
    given(monkeypatch, lambda: next(devices))
    assert len(found.compare(pair).measurements) == 2
    assert found.times
    assert found.troubles == []


def test_a_board_that_is_lost_is_told_once_and_not_asked_again(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = OwnDevice(lost_after=5)
    found = _board(device, tmp_path, monkeypatch)
    for _ in range(2):
        assert found.compare(pair).measurements == ()
    assert not found.times
    [trouble] = found.troubles
    assert "own (test) stopped answering (it stopped answering): what came after is predicted" in trouble


def test_one_that_cannot_be_reached_again_is_lost(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _board(OwnDevice(), tmp_path, monkeypatch)
    opened = iter([OwnDevice(lost_after=5)])

    def reached_once() -> OwnDevice:
        for device in opened:
            return device
        raise DeviceError("no route to it", where="own")

    given(monkeypatch, reached_once)
    assert found.compare(pair).measurements == ()
    assert found.lost == "no route to it"


def test_what_a_bundle_is_to_blame_for_is_raised_where_that_is_asked(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, broken = _board(OwnDevice(), tmp_path, monkeypatch), off_golden(pair[0], tmp_path / "broken")
    with pytest.raises(MismatchError):
        found.compare([pair[0], broken], strict=True)
    assert found.compare([pair[0], broken]).measurements == ()
    assert found.times, "the board still answers"
    assert "off the golden one" in found.troubles[0]


def test_an_emulated_board_is_told_of_and_tells_no_time(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _board(counting(tmp_path / "site", 3_000_000, monkeypatch), tmp_path / "work", monkeypatch)
    assert not found.times
    read = found.compare(pair)
    assert read.measurements == ()
    [note] = read.notes
    assert "golden vectors agree on own (test)" in note
    assert "it takes 1.00 times the original's instructions; it is emulated" in note


def test_reports_name_no_user(tmp_path: Path) -> None:
    found = Board("ssh://pi@kitchen:22?python=/home/pi/venv", OwnDevice().describe(), QUICK(), tmp_path)
    assert found.where == "ssh://kitchen:22 (test)"


def test_one_that_refuses_for_now_is_asked_again(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _board(OwnDevice(), tmp_path, monkeypatch)

    def refuse(*_: object, **__: object) -> None:
        raise DeviceError("the system there killed the runner", where="own")

    with monkeypatch.context() as patch:
        patch.setattr(board, "bench", refuse)
        assert found.compare(pair).measurements == ()
    assert found.times
    assert len(found.compare(pair).measurements) == 2
    assert "killed the runner" in found.troubles[0]


def test_by_ssh_as_bench_reaches_it(digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hung up on in the middle, and gone on with."""
    monkeypatch.setattr(board, "Limits", QUICK)
    with loopback_board("ssh") as there:
        for name, value in there.environment.items():
            monkeypatch.setenv(name, value)
        found = reach(there.url, made_up(), tmp_path / "work", batch=1, threads=1, progress=Progress())
        assert found.where.startswith("ssh://")
        assert "@" not in found.where
        add = Journal.add

        def losing(self: Journal, event: Any) -> None:
            add(self, event)
            if event["event"] == "loaded":
                monkeypatch.setattr(Journal, "add", add)
                there.vanish()

        monkeypatch.setattr(Journal, "add", losing)
        [measured] = found.compare([digits_bundle]).measurements
        assert measured.p50 > 0
        assert found.troubles == []
