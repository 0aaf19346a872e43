"""BitNet's table: what is judged, and a worker that runs steps of a decoder."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import bitnet_table  # found through the line above
import pytest
from bitnet.decoder import SHAPES, Shape, write_decoder
from bitnet_table import Worker, judged, table


def cells(resident: float, ratio: float) -> dict[str, dict[str, Any]]:
    fp16 = 2 * SHAPES["700M"].parameters
    cell = {"ms": 10.0, "bytes": 1, "resident": fp16 / resident, "of_fp32": [ratio, ratio, ratio]}
    return {"700M ternary @1": cell, "700M fp32 @1": {**cell, "of_fp32": [1.0, 1.0, 1.0]}}


def test_goals() -> None:
    assert [met for _, met in judged(cells(2.7, 0.3))] == [True, True]
    assert [met for _, met in judged(cells(2.5, 0.4))] == [False, False]
    assert list(judged({})) == []


def test_the_table_has_what_was_measured() -> None:
    lines = list(table(cells(2.7, 0.3)))
    assert len(lines) == 4
    assert "| 2.70 | 1: 10.0 (0.30) |" in lines[3]


def test_a_worker_tells_its_memory_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitnet_table, "TURN", 0.01)
    shape = Shape(128, 256, 2)
    write_decoder(shape, "ternary", tmp_path / "t.onnx")
    with ExitStack() as stack:
        worker = Worker(tmp_path / "t.onnx", 1, stack)
        assert worker.memory["finite"]
        assert worker.memory["VmRSS_grown"] > 0
        times = worker.block()
    assert all(0 < seconds < 10 for seconds in times)
    assert worker.rounds == 1
    assert worker.process.poll() is not None
