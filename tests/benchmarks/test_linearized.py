"""The check of linearized networks: when its goal is met."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from linearized import _report  # found through the line above


def cell(accuracy: float, low: float) -> dict[str, Any]:
    times = {"speedup": low + 0.1, "speedup_low": low, "speedup_high": low + 0.2}
    return {"activations": 8, "dense": 0.925, "accuracy": accuracy, **times}


@pytest.mark.parametrize(
    ("key", "accuracy", "low", "held"),
    [
        ("mobilenetv2 trained 0.4", 0.921, 1.02, True), ("mobilenetv2 trained 0.4", 0.919, 1.02, False),
        ("mobilenetv2 trained 0.4", 0.921, 0.99, False), ("vit trained 0.4", 0.925, 1.5, False),
    ],
)  # fmt: skip
def test_faster_and_within_half_a_point(key: str, accuracy: float, low: float, held: bool) -> None:
    assert _report({key: cell(accuracy, low)}) is held


def test_what_does_not_merge_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert not _report({"resnet trained 0.4": {"activations": 0, "dense": 0.93, "stays": "it pads its input"}})
    assert "nothing goes: it pads its input" in capsys.readouterr().out
