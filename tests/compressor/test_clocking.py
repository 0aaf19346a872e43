"""Programs are lowered and timed in turn, wherever something tells times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compressor.cache import Cache
from compressor.clocking import clocks_of
from compressor.errors import UnsupportedError
from compressor.gate import Gate
from compressor.graph.contract import Context, Progress
from compressor.graph.program import Program
from compressor.judging import Workshop
from compressor.metrics import parse_drop
from compressor.passes.prune import Prune
from compressor.pipeline import Pipeline
from compressor.prepare import prepare
from compressor.request import Request
from compressor.targets import load_target
from compressor.targets.tvm import with_runtime


def _workshop(digits: Path, folder: Path, target: str = "host", runtime: str | None = None) -> Workshop:
    board = with_runtime(load_target(target), runtime)
    prepared = prepare(Request(digits / "model.pt", data=digits / "data.npz"), board, 0, Progress())
    pipeline = Pipeline(Context(prepared.target), Gate("latency"), Cache(None), "")
    return Workshop(prepared, pipeline, folder, parse_drop("1%"), 1, 1)


def test_programs_are_timed_side_by_side_and_what_cannot_be_lowered_is_left_out(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = _workshop(digits, tmp_path)
    clocks = clocks_of(workshop)
    assert clocks is not None
    assert clocks.times is not None
    whole = workshop.prepared.program
    thin = Prune(0.9).run(whole, workshop.pipeline.context).program
    foreign = replace(whole)
    lowered = workshop.lowered

    def refusing(program: Program, *others: object) -> object:
        if program is foreign:
            raise UnsupportedError("no such kernel")
        return lowered(program, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(workshop, "lowered", refusing)
    first, nothing, last = clocks.times([whole, foreign, thin])
    assert nothing is None
    assert first is not None
    assert last is not None
    assert last > 0
    assert first > 0
    assert list(tmp_path.rglob("*.onnx")) == [], "nothing is kept"


def test_times_are_of_a_machine_a_target_and_its_threads(digits: Path, tmp_path: Path) -> None:
    workshop = _workshop(digits, tmp_path)
    one, only = clocks_of(workshop), clocks_of(workshop, only_kept=True)
    assert one is not None
    assert only is not None
    assert only.times is None
    assert only.kept_as == one.kept_as
    workshop.threads = 2
    two = clocks_of(workshop)
    assert two is not None
    assert two.kept_as != one.kept_as


@pytest.mark.parametrize(("target", "runtime"), [("raspberry-pi-5", None), ("host", "tvm")])
def test_where_nothing_tells_times_or_compiling_takes_long_there_are_none(
    target: str, runtime: str | None, digits: Path, tmp_path: Path
) -> None:
    assert clocks_of(_workshop(digits, tmp_path, target, runtime)) is None
