"""The orders that are compared, and what is told of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from plan_orders import ORDERS, judged, ordered, table  # found through the line above

from compressor.passlist import PassSpec

PLAN = [PassSpec("prune", {}, {"a": {"remove": "0"}}), PassSpec("factorize", {}, {"b": {"rank": 8}}),
        PassSpec("quantize", {}, {"a": {"format": "int8"}})]  # fmt: skip


@pytest.mark.parametrize(
    ("order", "names", "steps"),
    [
        ("planner", ["prune", "factorize", "recover", "quantize"], ("225steps", "75steps")),
        ("at the end", ["prune", "factorize", "quantize"], (None, "300steps")),
        ("rank first", ["factorize", "prune", "recover", "quantize"], ("225steps", "75steps")),
    ],
)
def test_each_order_trains_as_long(order: str, names: list[str], steps: tuple[str | None, str]) -> None:
    passes = ordered(PLAN, order, 300)
    assert [spec.name for spec in passes] == names
    recovery = [spec.options["budget"] for spec in passes if spec.name == "recover"]
    assert (recovery or [None]) == [steps[0]]
    assert passes[-1].sites["program"] == {"train": steps[1]}
    assert passes[-1].sites["a"] == PLAN[-1].sites["a"]


def test_without_bits_all_of_it_comes_after_structure() -> None:
    assert [spec.name for spec in ordered(PLAN[:2], "at the end", 300)] == ["prune", "factorize", "recover"]
    with pytest.raises(ValueError, match="none of"):
        ordered(PLAN, "random", 300)


def test_the_table_and_the_goal() -> None:
    cells = {
        f"net 0.5× @300 {order} 0": {"accuracy": accuracy, "ms": 1.0}
        for order, accuracy in zip(ORDERS, (0.9, 0.91, 0.8), strict=True)
    }
    cells["net 0.35× @300 planner 0"] = {"accuracy": 0.5, "ms": 1.0}
    assert judged(cells) == {"net 0.5× @300": False}
    assert judged({**cells, "net 0.5× @300 at the end 0": {"accuracy": 0.901, "ms": 1.0}}) == {"net 0.5× @300": True}
    assert (
        table(cells).splitlines()[2] == "| net 0.5× @300 | 0.9000 (1.000 ms) | 0.9100 (1.000 ms) | 0.8000 (1.000 ms) |"
    )
