"""Where artifacts are timed: on the board, here, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.board import Board, Readings
from compressor.cache import Cache
from compressor.errors import DeviceLostError
from compressor.export.bundle import verify_bundle
from compressor.gate import Gate, parse_budget
from compressor.graph.contract import Context, Progress
from compressor.graph.cost import Roofline
from compressor.judging import Workshop
from compressor.metrics import parse_drop
from compressor.pipeline import Pipeline
from compressor.prepare import prepare
from compressor.request import Request
from compressor.targets import load_target
from compressor.timing import Timing


class Answering(Board):
    """Says what it is told to, and keeps what it was asked."""

    def __init__(self, *readings: Readings, timed: bool = True, url: str = "ssh://board") -> None:
        self.url, self.description, self.lost, self.troubles = url, SimpleNamespace(timed=timed, cpu="A76"), "", []
        self.asked: list[list[Path]] = []
        self.readings = list(readings)

    def compare(self, bundles: Any, *, strict: bool = False) -> Readings:
        self.asked.append(list(bundles))
        return self.readings.pop(0) if self.readings else Readings()


def _workshop(digits: Path, folder: Path, target: str, board: Board | None = None) -> Workshop:
    request = Request(digits / "model.pt", data=digits / "data.npz")
    prepared = prepare(request, load_target(target), 0, Progress())
    pipeline = Pipeline(Context(prepared.target, Roofline()), Gate("latency"), Cache(None), "")
    return Workshop(prepared, pipeline, folder, parse_drop("1%"), 1, 1, board=board)


def _read(*p50: float) -> Readings:
    times = [SimpleNamespace(p50=each, rounds=(each,) * 6, load_ms=1.0) for each in p50]
    return Readings(tuple(times), (7.0, 8.0)[: len(p50)], True, ("as it was",))  # type: ignore[arg-type]


def test_a_board_is_given_sound_bundles_once(digits: Path, tmp_path: Path) -> None:
    board = Answering(_read(2.0), _read(2.0, 1.0))
    workshop = _workshop(digits, tmp_path, "raspberry-pi-5", board)
    workshop.try_board()
    original = workshop.build(workshop.prepared.program)
    times = workshop.times(original.program, original)
    assert times is not None
    assert (times.before, times.after, times.ratio, times.how) == (2.0, 1.0, 0.5, "measured")
    [[alone], [first, second]] = board.asked
    assert alone == first == second, "it is written once"
    assert verify_bundle(first).ok
    manifest = json.loads((first / "manifest.json").read_text())
    assert (manifest["target"], manifest["tolerance"]) == ("raspberry-pi-5", original.agreement.tolerance)
    timing = workshop.timing
    assert timing.first_token([original, original]) == {"0": 7.0, "1": 8.0}
    assert timing.steady([original, original])
    assert timing.notes([original, original]) == ("as it was",)
    assert (timing.where, timing.device, timing.teaches) == ("ssh://board (A76)", "ssh://board", True)
    assert timing.load_ms(original) is None
    gate = Gate("latency", (parse_budget("latency", "1ms"),))
    assert (workshop.original_ms(gate), workshop.original_ms(Gate("latency"))) == (2.0, None)


def test_where_the_board_says_nothing_predictions_do(digits: Path, tmp_path: Path) -> None:
    workshop = _workshop(digits, tmp_path, "raspberry-pi-5", Answering(timed=False))
    workshop.try_board()
    original = workshop.build(workshop.prepared.program)
    times = workshop.times(original.program, original)
    assert times is not None
    assert (times.how, times.ratio) == ("predicted", 1.0)
    assert workshop.timing.where == ""
    assert workshop.measured(original, original) == {}


def test_a_board_that_is_lost_at_the_first_look_ends_the_run(digits: Path, tmp_path: Path) -> None:
    board = Answering()
    board.lost = "the connection was lost"
    with pytest.raises(DeviceLostError, match="the connection was lost"):
        _workshop(digits, tmp_path, "raspberry-pi-5", board).try_board()


def test_times_of_another_machine_teach_nothing_of_this_one(digits: Path, tmp_path: Path) -> None:
    prepared = _workshop(digits, tmp_path, "host").prepared
    rest = prepared, tmp_path, 1, 1, Progress()
    assert Timing(*rest).teaches
    assert Timing(*rest, Answering(url="local")).teaches
    assert not Timing(*rest, Answering()).teaches


def test_elsewhere_nothing_is_timed(digits: Path, tmp_path: Path) -> None:
    workshop = _workshop(digits, tmp_path, "raspberry-pi-5")
    workshop.try_board()
    original = workshop.build(workshop.prepared.program)
    assert workshop.times(original.program, original) is None
    assert workshop.timing.where == ""
    assert workshop.timing.notes([original]) == ()
    assert workshop.original_ms(Gate("latency", (parse_budget("latency", "1ms"),))) is None
