"""Figures reach the report, and budgets that are missed are told."""

from __future__ import annotations

from compressor.gate import Gate, parse_budget
from compressor.graph.cost import Estimate
from compressor.report.model import Figures, Latency
from compressor.reporting import missed, predicted


def _figures(size: int, predicted: float, measured: float | None = None) -> Figures:
    return Figures(1, 1, file_bytes=size, latency_ms=Latency(predicted, measured))


def test_a_met_budget_says_nothing() -> None:
    gate = Gate("latency", (parse_budget("size", "0.5x"), parse_budget("latency", "2ms")))
    assert list(missed(gate, _figures(100, 4.0), _figures(50, 1.0))) == []


def test_a_missed_budget_says_by_how_much() -> None:
    gate = Gate("latency", (parse_budget("size", "0.5x"),))
    [text] = missed(gate, _figures(4_000_000, 4.0), _figures(3_000_000, 1.0))
    assert text == "size budget 0.5x missed: 3 MB, the limit is 2 MB"


def test_measured_time_counts_before_predicted_time() -> None:
    gate = Gate("latency", (parse_budget("latency", "1ms"),))
    assert list(missed(gate, _figures(1, 0.5, 9.0), _figures(1, 0.4, 2.0)))
    assert not list(missed(gate, _figures(1, 5.0, 9.0), _figures(1, 4.0, 0.9)))


def test_a_prediction_keeps_its_interval() -> None:
    estimate = Estimate((), 4.0, True, 0, interval_ms=(3.0, 5.5))
    assert predicted(estimate, 4.2) == Latency(4.0, 4.2, (3.0, 5.5))
    assert predicted(None, 4.2) == Latency(None, 4.2)
