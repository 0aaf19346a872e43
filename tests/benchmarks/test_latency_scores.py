"""Scores of predicted against measured latencies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from latency_scores import Row, accuracy, equal_pairs, kendall, noise, taus


def row(
    predicted: float, measured: float = 100.0, *, macs: int = 1000, family: str = "resnet", drift: float = 0.0
) -> Row:
    halves = (measured, measured * (1 + drift))
    return Row("name", family, "plain", 1, macs, measured, halves, predicted, 0.9 * predicted, 1.1 * predicted)


def test_shares_and_errors() -> None:
    found = accuracy([row(103), row(92), row(130), row(100)])
    assert found["models"] == 4
    assert found["mape"] == pytest.approx((0.03 + 0.08 + 0.3) / 4)
    assert (found["within_5"], found["within_10"], found["worst"]) == (0.5, 0.75, pytest.approx(0.3))
    assert found["in_interval"] == 0.75
    assert accuracy([]) == {"models": 0}


def test_noise_is_what_two_medians_of_one_model_differ_by() -> None:
    found = noise([row(1, drift=0.02), row(1, drift=0.04), row(1, drift=0.5)])
    assert found["median"] == pytest.approx(0.04)
    assert found["over_5"] == pytest.approx(1 / 3)


def test_order_of_variants() -> None:
    rows = [row(p, m) for p, m in ((1, 1), (2, 2), (3, 3), (5, 4), (4, 5))]
    assert kendall(rows) == pytest.approx(0.8)
    assert taus(rows[:4]) == {}, "four variants are too few"
    assert taus(rows) == {"resnet": pytest.approx(0.8)}


def test_pairs_of_equal_work_are_put_in_order() -> None:
    slow, fast, other = row(120, 120, macs=1000), row(100, 100, macs=1010), row(1, 1, macs=5000)
    found = equal_pairs([slow, fast, other])
    assert found == {"pairs": 1, "right": 1.0, "macs_right": 0.0}
    assert equal_pairs([row(1, 100), row(2, 101)]) == {"pairs": 0}, "times within 5% say nothing"
