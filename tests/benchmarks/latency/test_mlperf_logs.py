"""The reader of MLPerf's summaries, on files in their format with made-up figures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from latency.mlperf_logs import results, summary

SUMMARY = """================================================
MLPerf Results Summary
================================================
SUT name : SUT
Scenario : SingleStream
Mode     : PerformanceOnly
90th percentile latency (ns) : 5100000
Result is : VALID
  Min duration satisfied : Yes

================================================
Additional Stats
================================================
QPS w/ loadgen overhead         : 200.00

Mean latency (ns)               : 5000123
50.00 percentile latency (ns)   : 4900000
90.00 percentile latency (ns)   : 5100000
"""


def test_a_summary_gives_milliseconds_and_the_verdict() -> None:
    assert summary(SUMMARY) == (5.1, 5.000123, "VALID")


@pytest.mark.parametrize("line", ["Result is", "Mean latency", "90.00 percentile"])
def test_a_summary_that_was_cut_off_gives_none(line: str) -> None:
    cut = "\n".join(text for text in SUMMARY.splitlines() if not text.startswith(line))
    assert summary(cut) is None


def test_single_stream_runs_of_the_boards_are_listed_in_order(tmp_path: Path) -> None:
    for system, model, scenario in (
        ("rpi4-tflite", "resnet50", "singlestream"), ("AGX_Xavier_TRT", "bert-99", "SingleStream"),
        ("rpi4-tflite", "resnet50", "offline"), ("A100", "resnet50", "singlestream"),
    ):  # fmt: skip
        folder = tmp_path / "open" / "Lab" / "results" / system / model / scenario / "performance" / "run_1"
        folder.mkdir(parents=True)
        (folder / "mlperf_log_summary.txt").write_text(SUMMARY)
    assert list(results(tmp_path, "v9")) == [
        ("v9", "open", "Lab", "AGX_Xavier_TRT", "bert-99", 5.1, 5.000123, "VALID"),
        ("v9", "open", "Lab", "rpi4-tflite", "resnet50", 5.1, 5.000123, "VALID"),
    ]
