"""When a works-when check holds: the bound, and two standard errors where an advantage is claimed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from claims.claim import Goal, judged

VALUES = {"a.x": [8.0, 8.1, 7.9], "b.x": [10.0, 10.2, 9.9], "noisy.x": [6.0, 14.0, 9.0], "short.x": [1.0]}
SEEDS = {name: dict(enumerate(values)) for name, values in VALUES.items()} | {"shifted.x": {1: 8.0, 2: 8.1, 3: 7.9}}


@pytest.mark.parametrize(
    ("better", "than", "bound", "holds"),
    [("a.x", "b.x", 0.85, True), ("a.x", "b.x", 0.75, False), ("noisy.x", "b.x", 0.99, False), ("b.x", "b.x", 1, True)],
)
def test_ratios(better: str, than: str, bound: float, holds: bool) -> None:
    verdict = judged(Goal("", better, than, "ratio", bound), SEEDS.__getitem__)
    assert verdict is not None
    assert verdict.holds is holds


@pytest.mark.parametrize(
    ("better", "than", "bound", "holds"),
    [
        ("b.x", "a.x", 1.0, True), ("b.x", "a.x", 3.0, False), ("b.x", "noisy.x", 0.1, False),
        ("noisy.x", "b.x", -0.5, True), ("a.x", "8", -0.1, True), ("a.x", "7.5", 0.2, True),
    ],
)  # fmt: skip
def test_points(better: str, than: str, bound: float, holds: bool) -> None:
    verdict = judged(Goal("", better, than, "points", bound), SEEDS.__getitem__)
    assert verdict is not None
    assert verdict.holds is holds


def test_no_verdict_where_seeds_are_missing() -> None:
    assert judged(Goal("", "a.x", "short.x", "ratio", 1.0), SEEDS.__getitem__) is None
    assert judged(Goal("", "a.x", "shifted.x", "ratio", 1.0), SEEDS.__getitem__) is None
    assert judged(Goal("", "none.x", "a.x", "ratio", 1.0), lambda name: SEEDS.get(name, {})) is None


def test_one_seed_shows_no_advantage() -> None:
    one = {"a.x": {0: 8.0}, "b.x": {0: 10.0}}.__getitem__
    assert judged(Goal("", "a.x", "b.x", "ratio", 0.95), one) is None
    verdict = judged(Goal("", "a.x", "b.x", "ratio", 1.0), one)
    assert verdict is not None
    assert verdict.holds
