"""Which setting of a pass a plan is held to, and what is told of the comparison."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from plan_contestants import steps_of  # found through the line above
from plan_models import chosen, judged, table

from compressor.passlist import parse_passes

TIMES = {"fp32": 10.0, "plan 0.5×": 5.0, "prune=0.3": 6.0, "prune=0.4": 5.05, "prune=0.5": 4.0, "int8": 7.0}


def _cells(**metrics: float) -> dict[str, dict[str, Any]]:
    return {
        "net fp32": {"accuracy": 0.9, "bytes": 1000}, "net plan 0.5×": {"accuracy": metrics["plan"], "bytes": 300},
        "net ladder": {"ms": TIMES}, "net uniform prune=0.4": {"accuracy": metrics["prune"], "bytes": 600},
        "net goal": {"accuracy": metrics["goal"], "bytes": 200},
        "net int8 ort static": {"accuracy": 0.895, "bytes": 260},
        "net timed": {"ms": {**TIMES, "goal": 4.0, "int8 ort static": 6.0}},
    }  # fmt: skip


def test_a_plan_is_held_to_the_mildest_setting_that_is_no_slower() -> None:
    assert chosen(TIMES, "prune", 5.0) == "prune=0.4"  # 1% is noise
    assert chosen(TIMES, "prune", 4.5) == "prune=0.5"
    assert chosen(TIMES, "quantize", 5.0) is None
    assert chosen(TIMES, "prune", None) is None


def test_a_plan_wins_where_its_metric_is_no_worse() -> None:
    [(told, won), (kept, met)] = judged(_cells(plan=0.89, prune=0.88, goal=0.893))
    assert (told, won) == ("net plan 0.5×: 0.8900, behind none", True)
    assert (kept.partition(":")[0], met) == ("goal kept on 1 of 1 networks (4 of 5)", False)
    assert "2.50 times faster and 5.00 smaller than fp32, 1.50 times faster than int8 ort static" in kept
    [(told, won), _] = judged(_cells(plan=0.87, prune=0.88, goal=0.893))
    assert (told, won) == ("net plan 0.5×: 0.8700, behind prune 0.8800 (prune=0.4)", False)
    assert "kept on 0 of 1" in judged(_cells(plan=0.87, prune=0.88, goal=0.88))[1][0]


def test_the_table_says_what_each_pass_gets_at_that_time() -> None:
    row = table(_cells(plan=0.89, prune=0.88, goal=0.9)).splitlines()[2]
    assert row.startswith("| net | plan 0.5× | 0.50 | 0.30 | 0.8900 (0.9000) | 0.8800 (prune=0.4) | not as fast | ")


@pytest.mark.parametrize(("passes", "names"), [("fold,prune=0.3", ["fold", "prune", "recover"]),
                                               ("fold,int8", ["fold", "quantize"])])  # fmt: skip
def test_one_pass_trains_as_long_as_a_plan(passes: str, names: list[str]) -> None:
    specs = steps_of(parse_passes(passes), 40)
    assert [spec.name for spec in specs] == names
    assert (specs[-1].options.get("budget") or specs[-1].options["train"]) == "40steps"
    assert not specs[-1].sites, "settings of sites would be all that it does"
