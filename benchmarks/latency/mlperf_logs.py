"""Reads single-stream summaries of MLPerf Inference on Jetson Xavier and Raspberry Pi 4.

DIVISION/SUBMITTER/results/SYSTEM/MODEL/singlestream/performance/run_1/mlperf_log_summary.txt of a round's repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FIELDS", "results", "summary"]

FIELDS = ("round", "division", "submitter", "system", "model", "p90_ms", "mean_ms", "valid")
_PATTERN = "*/*/results/*/*/*/performance/run_1/mlperf_log_summary.txt"
_BOARDS = ("xavier", "rpi4")
_FIGURES = {
    "p90": re.compile(r"^90\.00 percentile latency \(ns\)\s*:\s*(\d+)", re.MULTILINE),
    "mean": re.compile(r"^Mean latency \(ns\)\s*:\s*(\d+)", re.MULTILINE),
    "valid": re.compile(r"^Result is\s*:\s*(\w+)", re.MULTILINE),
}


def results(root: Path, name: str) -> Iterator[tuple[str, str, str, str, str, float, float, str]]:
    """Rows of a round, in the order of their paths, as in `FIELDS`; summaries that tell no latency are left out."""
    for path in sorted(root.glob(_PATTERN), key=lambda path: path.as_posix()):
        division, submitter, _, system, model, scenario, *_ = path.relative_to(root).parts
        wanted = scenario.lower() == "singlestream" and any(board in system.lower() for board in _BOARDS)
        found = summary(path.read_text(encoding="utf-8", errors="replace")) if wanted else None
        if found is not None:
            yield (name, division, submitter, system, model, *found)


def summary(text: str) -> tuple[float, float, str] | None:
    """The 90th percentile and the mean in milliseconds, and the verdict; None where one is missing."""
    found = {key: pattern.search(text) for key, pattern in _FIGURES.items()}
    p90, mean, valid = found["p90"], found["mean"], found["valid"]
    if p90 is None or mean is None or valid is None:
        return None
    return round(int(p90[1]) / 1e6, 6), round(int(mean[1]) / 1e6, 6), valid[1]
