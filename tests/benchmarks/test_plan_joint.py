"""What random plans say of the assumption that options add up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from plan_joint import figures, judged, table  # found through the line above


def plan(damage: float, said: float) -> dict[str, Any]:
    return {"damage": damage, "damage_said": said, "ms": 2.0 + damage, "ms_said": 1.0 + damage, "bytes": 4.0 + damage,
            "bytes_said": 4.0 + damage}  # fmt: skip


def test_order_counts_and_not_size() -> None:
    plans = [plan(0.1 * n, (0.1 * n) ** 2) for n in range(1, 8)]
    found = figures(plans)
    assert found["damage rank"] == pytest.approx(1.0)
    assert found["damage error"] > 0.1
    assert found["bytes error"] == 0.0
    cells = {f"net {n}": each for n, each in enumerate(plans)}
    assert judged(cells) == {"net": True}
    assert "| net | 7 | 1.000 |" in table(cells)


def test_another_order_misses() -> None:
    cells = {f"net {n}": plan(0.1 * n, 1.0 - 0.1 * n) for n in range(1, 8)}
    assert judged(cells) == {"net": False}
