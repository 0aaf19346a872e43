"""What tables measure on: few samples without labels, more with them, and the metric of outputs that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.evaluated import Evaluated, evaluated
from compressor.graph.contract import Progress
from compressor.graph.program import Program
from compressor.prepare import prepare
from compressor.request import Request
from compressor.targets import load_target


def found(digits: Path, **more: str) -> tuple[Evaluated, Program]:
    prepared = prepare(Request(digits / "model.pt", target="x86-64", **more), load_target("x86-64"), 0, Progress())
    return evaluated(prepared.program, prepared), prepared.program


def test_with_labels_the_metric_is_judged_of_outputs(digits: Path) -> None:
    data, program = found(digits, data=str(digits / "data.npz"))
    assert (data.samples, data.metric) == (128, "accuracy")
    assert data.judge is not None
    exact = data.judge([list(program.run(batch).values()) for batch in data.batches])
    wrong = data.judge([[-value for value in program.run(batch).values()] for batch in data.batches])
    assert exact > 0.9 > 0.2 > wrong
    assert data.drop(exact, wrong) == pytest.approx(exact - wrong)


def test_without_data_there_is_nothing(digits: Path) -> None:
    data, _ = found(digits)
    assert (data.samples, data.metric, data.judge) == (0, None, None)
