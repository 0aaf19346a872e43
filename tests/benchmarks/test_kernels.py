"""What the benchmark of kernels makes of its figures, and one real turn of some contestants."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kernel_runs import here

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import kernels  # found through the line above
from kernel_contestants import CONTESTANTS, Case

CELL = {"memory": 40.0, "dot products": 500.0, "tir ternary": 100.0, "ort 2 bits": 200.0, "ort fp32": 3000.0}


def test_a_cold_row_is_held_against_memory_and_many_rows_against_products() -> None:
    cold = kernels.goals("4096x4096 1-cold rows 2 threads", CELL)
    assert cold == pytest.approx({"× ORT 2 bits": 2.0, "× ORT fp32": 30.0, "of memory": 4096 * 1024 / 1e5 / 40})
    many = kernels.goals("1000x1000 16 rows 1 threads", CELL)
    assert many["of dot products"] == pytest.approx(16e6 / 1e5 / 500)
    assert "of memory" not in many
    assert not kernels.goals("1000x1000 16 rows 1 threads", {"memory": 40.0})
    own = kernels.goals("1000x1000 16 rows 1 threads", {**CELL, "custom op": 80.0})
    assert own["× ORT 2 bits, custom op"] == pytest.approx(2.5)


def test_the_table_has_a_line_a_cell() -> None:
    lines = kernels.table({"4096x4096 1 rows 1 threads": CELL}).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert "| 100.0 |" in lines[2]


def test_cold_weights_are_many_and_a_turn_is_short() -> None:
    turns, each = Case(4096, 4096, 1, 1, cold=True).groups(4 << 20)
    assert (turns, each) == (16, 4)
    assert Case(4096, 4096, 1, 1).groups(4 << 20) == (1, 1)


@pytest.mark.skipif(not here(), reason="no kernels for this processor")
@pytest.mark.parametrize("name", ["tir ternary", "custom op", "tir int8", "ort 2 bits", "ort int8", "dot products"])
def test_a_turn_takes_time(name: str) -> None:
    assert 0 < CONTESTANTS[name](Case(128, 256, 4, 1))() < 1
