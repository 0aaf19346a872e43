"""The FFSplit check: which tensors' bytes count, and when the goal is met."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from ffsplit import _is_feed_forward, _judged  # found through the line above


def cells(split: float) -> dict[str, dict[str, Any]]:
    errors = {"split": split, "fifth": 0.9, "random": 1.2}
    found = {f"{arm} seed {seed}": {"error": error, "bits": 5.0} for arm, error in errors.items() for seed in range(2)}
    return {**found, "uniform seed 0": {"error": 1.0, "bits": 5.0}}


@pytest.mark.parametrize(("split", "held"), [(0.79, True), (0.81, False), (1.1, False)])
def test_a_fifth_of_the_uniform_error_has_to_go(split: float, held: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert _judged(cells(split), 2) is held  # type: ignore[arg-type]
    assert ("held" if held else "MISSED") + ": the split's error is" in capsys.readouterr().out


def test_nothing_is_judged_before_all_seeds_are_measured() -> None:
    assert not _judged(cells(0.5), 3)  # type: ignore[arg-type]


def test_feed_forward_weights_and_their_scales_count() -> None:
    counted = ("encoder.layer.0.output.dense.heavy.weight_scale", "encoder.layer.3.intermediate.dense.weight")
    assert all(map(_is_feed_forward, counted))
    others = (
        "encoder.layer.0.attention.output.dense.weight",
        "pooler.dense.weight",
        "encoder.layer.0.output.dense.bias",
    )
    assert not any(map(_is_feed_forward, others))
