"""Which way an indicator moves, and which pairs contradict each other."""

from __future__ import annotations

import pytest

from compressor.report.indicators import Indicator, conflicts


def counted(name: str, ratio: float, method: str = "m") -> Indicator:
    return Indicator.counted(method, name, 100.0, 100.0 * ratio)


@pytest.mark.parametrize(
    ("low", "high", "direction"),
    [
        (0.4, 0.5, "falls"), (0.5, 0.995, "?"), (0.96, 0.98, "falls"), (0.96, 1.04, "stays"), (1.0, 1.0, "stays"),
        (1.02, 1.3, "rises"), (1.005, 1.3, "?"), (0.9, 1.1, "?"),
    ],
)  # fmt: skip
def test_which_way_it_moves(low: float, high: float, direction: str) -> None:
    assert Indicator("m", "latency", low, (low + high) / 2, high).direction == direction


def test_what_falls_against_what_does_not_is_a_conflict() -> None:
    rows = [counted("parameters", 0.5), counted("MACs", 1.0), counted("latency", 1.2), counted("bytes", 0.5)]
    assert [str(each) for each in conflicts(rows)] == [
        "m: parameters falls (0.50×), but MACs stays (1.00×)",
        "m: parameters falls (0.50×), but latency rises (1.20×)",
        "m: bytes falls (0.50×), but MACs stays (1.00×)",
        "m: bytes falls (0.50×), but latency rises (1.20×)",
    ]


def test_methods_are_not_mixed_and_doubt_is_no_conflict() -> None:
    doubtful = Indicator("m", "latency", 0.9, 1.0, 1.1)
    assert conflicts([counted("parameters", 0.5), doubtful, counted("MACs", 1.0, "other")]) == ()
    assert conflicts([counted("parameters", 0.5), counted("MACs", 0.5)]) == ()
    assert conflicts([counted("parameters", 1.5), counted("MACs", 1.0)]) == ()


def test_nothing_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="bytes of nothing"):
        Indicator.counted("m", "bytes", 0.0, 1.0)
