"""What the table of structural passes says of its cells: the rows, and where costs contradict each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from structure import ROWS, indicators, table  # found through the line above

from compressor.passlist import parse_passes
from compressor.report.indicators import conflicts

SHARED: dict[str, Any] = {"cut_perplexity": 9.0, "perplexity": 4.0, "bytes": 0.5, "macs": 1.0}
CELLS: dict[str, dict[str, Any]] = {
    "gpt original": {"perplexity": 3.7},
    "gpt original timed": {"time": 1.0, "low": 1.0, "high": 1.0},
    "gpt share=2 @100": SHARED,
    "gpt share=2 @100 timed": {"time": 1.0, "low": 0.98, "high": 1.02},
    "gpt drop=0.25 @100": {**SHARED, "macs": 0.8},
    "gpt drop=0.25 @100 timed": {"time": 0.8, "low": 0.78, "high": 0.83},
    "gpt factorize=0.5 @100": SHARED,
    "vit original": {"accuracy": 0.9},
}


def test_every_row_is_a_pass_list_that_the_command_takes() -> None:
    for passes in {passes for rows in ROWS.values() for passes in rows}:
        assert all(spec.build() for spec in parse_passes(passes)), passes


def test_sharing_lowers_bytes_and_nothing_else() -> None:
    found = [str(conflict) for conflict in conflicts(indicators(CELLS))]
    assert found == [
        "gpt share=2 @100: bytes falls (0.50×), but macs stays (1.00×)",
        "gpt share=2 @100: bytes falls (0.50×), but latency stays (1.00×)",
    ]


def test_a_table_has_one_subjects_rows_the_fastest_last() -> None:
    lines = list(table("gpt", "perplexity", CELLS))
    assert "3.7" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["share=2 @100", "drop=0.25 @100"]
    assert "nan" in lines[4]  # made, and not timed yet
