"""A subject weighed once, and read again after."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from recovery import digits_batches, digits_program

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from subjects import Subject  # found through the line above
from weighing import weigh

from compressor.plan.swap import Swapper
from compressor.targets import load_target


@pytest.mark.slow
def test_what_was_measured_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("digits", "accuracy", 1, digits_program(), lambda count, seed: digits_batches(), lambda _: 1.0)
    target = load_target("raspberry-pi-5")
    first = weigh(subject, tmp_path, target=target)
    monkeypatch.setattr(Swapper, "_seen", None)  # it would be called
    again = weigh(subject, tmp_path, target=target)
    assert again.planner.measured.effects == first.planner.measured.effects
    assert again.planner.probes == first.planner.probes
