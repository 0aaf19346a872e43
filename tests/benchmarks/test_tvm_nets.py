"""What the benchmark of whole networks makes of its figures, and that its networks can be captured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import tvm_nets  # found through the line above

CELL = {
    "onnxruntime_ms": 2.0, "untuned_ms": 8.0, "tuned_ms": 2.2, "tune": "60min", "functions": 9, "improved": 5,
    "trials": 900, "minutes": 60.0, "onnx_bytes": 4 << 20, "onnxruntime_bytes": 20 << 20, "library_bytes": 5 << 20,
    "runtime_bytes": 6 << 20,
}  # fmt: skip


def test_each_cell_is_held_against_the_goals_that_it_has_a_part_in() -> None:
    assert tvm_nets.goals("resnet fp32 2 threads", CELL) == {
        "untuned": "4.00× met (5×, stretch 3×)", "tuned": "1.10× stretch met (1.5×, stretch 1.15×)", "ahead": "no",
        "bytes": "0.46× met",
    }  # fmt: skip
    assert tvm_nets.goals("resnet50-224 int8 2 threads", {**CELL, "untuned_ms": 11.0, "library_bytes": 1 << 30}) == {
        "untuned": "5.50× missed (5×, stretch 3×)", "bytes": "42.92× missed",
    }  # fmt: skip
    untuned = {name: value for name, value in CELL.items() if name != "tuned_ms"}
    assert set(tvm_nets.goals("digits fp32 2 threads", untuned)) == {"untuned", "bytes"}
    assert tvm_nets.goals("vit int8 1 threads", {**CELL, "tuned_ms": 1.9})["ahead"] == "yes"


def test_the_table_has_a_line_a_cell() -> None:
    untuned = {name: value for name, value in CELL.items() if name != "tuned_ms"}
    lines = tvm_nets.table({"resnet fp32 2 threads": CELL, "resnet int8 2 threads": untuned}).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| 2 | 8 | 2.2 | 60min: 5 of 9 functions, 900 trials |" in lines[2]


@pytest.mark.parametrize("name", tvm_nets.SMALL)
def test_small_networks_take_any_batch(name: str) -> None:
    program = tvm_nets.NETWORKS[name]()
    assert isinstance(program.inputs[0].shape[0], str)


def test_all_networks_of_the_goals_are_there() -> None:
    assert set(tvm_nets.SMALL) < set(tvm_nets.NETWORKS)
    assert {"mobilenet-v2-224", "resnet50-224"} < set(tvm_nets.NETWORKS)
