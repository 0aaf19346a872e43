"""What the benchmark of decoders makes of its turns, and a small one that really takes some."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from compiled import needs_tvm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import decoder_contestants  # found through the line above
import whole_decoders
from decoder_contestants import CONTESTANTS, FIRST, PLACES, TURN, Process, build, offered
from decoder_sizes import SIZES

PARTS = (PLACES - FIRST) // TURN
CELL = {"tvm ternary": 90.0, "ort ternary": 45.0, "ort fp32": 18.0}


def test_tokens_a_second_are_of_the_least_times_of_each_turn() -> None:
    best = {"tvm ternary": dict.fromkeys(range(PARTS), 0.1)}
    told = {"tvm ternary": {"resident": 200.0, "stored": 40.0, "before": 30.0}}
    found = whole_decoders.figures(best, told)
    assert found["tvm ternary"] == pytest.approx(TURN / 0.1)
    assert (found["tvm ternary MB"], found["tvm ternary file MB"]) == (200.0, 40.0)


def test_goals_are_told_at_one_thread() -> None:
    assert whole_decoders.goals(CELL) == {"ort ternary": 2.0, "ort fp32": 5.0}
    assert whole_decoders.goals({"ort ternary": 1.0}) == {}
    cell = {**CELL, **{f"{name} MB": 100.0 for name in CELL}}
    lines = whole_decoders.table({"125M 1 threads": cell, "125M 2 threads": cell}).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[2].split("|")[2].strip() == "90.0 (100 MB)"
    assert lines[4:] == [
        "goal, 125M 1 threads: 2.00 × ort ternary, at least 1.8: reached",
        "goal, 125M 1 threads: 5.00 × ort fp32, at least 6.0: missed",
    ]


def test_the_sizes_are_what_they_are_called() -> None:
    assert {name: round(size.parameters / 1e6) for name, size in SIZES.items() if name != "1M"} == {
        "125M": 134, "350M": 374, "1.3B": 1364,
    }  # fmt: skip


def test_a_contestant_is_offered_where_it_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(offered()) >= set(CONTESTANTS) - {"ort custom op"}
    monkeypatch.setattr(decoder_contestants, "_CUSTOM", "compressor.export.nothing")
    assert "ort custom op" not in offered()


@pytest.mark.parametrize(
    "name", ["tvm ternary", *(pytest.param(f"ort {format}", marks=pytest.mark.slow) for format in ("ternary", "fp32"))]
)
def test_a_small_one_takes_turns(name: str, tmp_path: Path) -> None:
    if name.startswith("tvm"):
        needs_tvm()
    folder = tmp_path / "1M" / "it"
    build(name, "1M", folder)
    process = Process(folder, 1)
    assert process.told["resident"] > process.told["before"] > 0
    assert process.told["stored"] > 0
    turns = [process.turn() for _ in range(PARTS + 1)]
    process.close()
    assert [part for part, _ in turns] == [*range(1, PARTS), 0, 1]
    assert all(seconds > 0 for _, seconds in turns)
