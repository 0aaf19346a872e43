"""The energy benchmark's judgements, to numbers that can be worked out; and the committed figures are judged anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from energy import crossing, judged  # noqa: E402  found through the line above
from metering import in_turn, spread_of  # noqa: E402
from misnomer import low_rank, shared  # noqa: E402

PLANS: dict[str, Any] = {
    "making_j int8": 100.0, "making_j prune, recover, int8": 1100.0,
    "mj int8": [9.0, 10.0, 11.0], "mj prune, recover, int8": [4.0, 5.0, 6.0],
}  # fmt: skip


def test_plans_cross_where_both_lives_have_cost_the_same() -> None:
    found, lines = crossing(PLANS)
    assert (found.when, found.count) == ("from", pytest.approx(200_000))
    assert found.low == pytest.approx(1000 / 0.007)
    assert found.high == pytest.approx(1000 / 0.003)
    assert [line.rpartition(": ")[2] for line in lines] == ["int8 wins", "prune, recover, int8 wins"]


def test_a_plan_that_saves_nothing_never_pays_and_misses_the_goal() -> None:
    cell = {**PLANS, "mj prune, recover, int8": [10.0, 11.0, 12.0]}
    assert crossing(cell)[0].when == "never"
    assert [met for _, met in judged({"plans": cell})] == [False]
    assert [met for _, met in judged({"plans": PLANS})] == [True]


def test_spread_and_share_are_judged() -> None:
    cell = {"minilm j_of_1000": [95.0, 100.0, 109.0], "gpt j_of_1000": [900.0, 1000.0, 1100.0], "labels": 4}
    assert [met for _, met in judged({"thousand": cell})] == [True, True]
    cell["minilm j_of_1000"] = [100.0, 120.0, 140.0]
    assert [met for _, met in judged({"thousand": cell})] == [False, False]


def test_conflicts_are_counted() -> None:
    rows = [["m", "MACs", 0.5, 0.5, 0.5], ["m", "bytes", 0.5, 0.5, 0.5], ["m", "latency", 1.1, 1.2, 1.3]]
    assert [met for _, met in judged({"misnomer": {"rows": rows}})] == [False]
    rows.append(["m", "energy", 1.1, 1.2, 1.3])
    [(text, met)] = judged({"misnomer": {"rows": rows}})
    assert met
    assert "m: MACs falls (0.50×), but latency rises (1.20×)" in text


def test_networks_made_by_hand_are_what_they_are_called() -> None:
    own, one = (sum(p.numel() for p in net.parameters()) for net in shared(8, 6))
    assert own == 6 * one
    dense, factored = low_rank(8, 2, 3)
    assert [sum(p.numel() for p in net.parameters()) for net in (dense, factored)] == [3 * 72, 3 * 40]
    assert dense(torch.ones(1, 8)).shape == factored(torch.ones(1, 8)).shape


def test_runs_take_turns_after_they_are_warm() -> None:
    seen: list[str] = []
    found, source = in_turn({"a": lambda index: seen.append("a"), "b": lambda index: seen.append("b")}, 2, 3)
    assert "".join(seen) == "aabb" + "aabb" * 3
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3}
    assert source.startswith(("measured: ", "estimated: "))
    span = spread_of([3.0, 1.0, 2.0], 10)
    assert (span.low, span.value, span.high) == pytest.approx((0.1, 0.2, 0.3))


def test_committed_figures_can_be_judged_and_say_how_they_are_known() -> None:
    cells = json.loads((BENCHMARKS / "results" / "energy.json").read_text())["cells"]
    assert len(judged(cells)) == 4
    for name in ("plans", "thousand", "misnomer"):
        source = cells[name].get("source") or cells[name]["inference_source"]
        assert source.startswith(("measured: ", "estimated: "))
