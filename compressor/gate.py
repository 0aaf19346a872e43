"""The gate: a pass that makes the objective worse, or breaks a budget, is taken back.

    worse  ⇔  cost(after) > 1.01 · cost(before)        cost: predicted milliseconds or bytes, as the target says

What the defaults chose is reverted; what the user named is warned about, unless `--gate` asks for reverting too.
What only prepares (`linearize`) is judged, and goes, together with the pass after it.
The other axis is reported and never grounds for reverting: on wasm compression buys size, not speed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compressor.errors import InputError
from compressor.graph.cost import SLACK

if TYPE_CHECKING:
    from compressor.report.model import Cost
    from compressor.targets import Objective

__all__ = ["Budget", "BudgetAxis", "Gate", "parse_budget", "show"]

BudgetAxis = Literal["latency", "size", "memory", "energy"]
LEAST = "min"  # a budget: as little as --max-drop allows
_EXAMPLES = {"latency": "8ms", "size": "2MB", "memory": "30MB", "energy": "5mJ"}
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS: dict[BudgetAxis, dict[str, float]] = {
    "latency": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "size": _BYTES,
    "memory": _BYTES,
    "energy": {"uJ": 1e-6, "mJ": 1e-3, "J": 1.0},
}
_JUDGED: tuple[Objective, ...] = ("latency", "size")


@dataclass(frozen=True)
class Budget:
    """An upper bound on one axis: absolute (milliseconds, bytes or joules), or relative to the uncompressed model;
    infinite of one that is to be as little as `--max-drop` allows."""

    axis: BudgetAxis
    value: float
    relative: bool
    text: str

    def limit(self, original: float) -> float:
        return self.value * original if self.relative else self.value

    @property
    def least(self) -> bool:
        """Whether it bounds nothing: as little as the metric allows."""
        return math.isinf(self.value)


@dataclass(frozen=True)
class Gate:
    """`strict` reverts what the user named, too; `measured`: artifacts are timed when selecting."""

    objective: Objective
    budgets: tuple[Budget, ...] = ()
    strict: bool = False
    measured: bool = False

    @property
    def axes(self) -> tuple[Objective, ...]:
        """What is judged pass by pass: latency and size where they have budgets, else the target's objective."""
        given = dict.fromkeys(budget.axis for budget in self.budgets)
        return tuple(axis for axis in _JUDGED if axis in given) or (self.objective,)

    def objection(self, before: Cost, after: Cost) -> str | None:
        """Why the step from `before` to `after` should be taken back, or None."""
        for axis in self.axes:
            old, new = on_axis(before, axis), on_axis(after, axis)
            if old is not None and new is not None and new > SLACK * old:
                return (
                    f"{_words(axis)} got worse by {100 * (new / old - 1):.1f}%: {show(axis, old)} to {show(axis, new)}"
                )
        return None


def on_axis(cost: Cost, axis: Objective) -> float | None:
    """One number of a cost."""
    return cost.latency_ms if axis == "latency" else float(cost.bytes)


def show(axis: BudgetAxis, value: float) -> str:
    """A number with its unit."""
    if axis == "energy":
        return f"{1e3 * value:.4g} mJ"
    return f"{value:.4g} ms" if axis == "latency" else f"{value / 1e6:.4g} MB"


def _words(axis: Objective) -> str:
    return "predicted latency" if axis == "latency" else "size"


def parse_budget(axis: BudgetAxis, text: str) -> Budget:
    """`8ms`, `2MB`, `0.6x` of the uncompressed model, or `min`. Raises InputError."""
    if text.strip() == LEAST:
        return Budget(axis, math.inf, False, LEAST)
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)", text.strip())
    units = _UNITS[axis]
    if match and float(match[1]) > 0:
        if match[2] == "x":
            return Budget(axis, float(match[1]), True, text)
        if match[2] in units:
            return Budget(axis, float(match[1]) * units[match[2]], False, text)
    raise InputError(
        f"{text!r} is not a budget",
        where=f"--{axis}",
        way_out=f"Write a number with x or {', '.join(units)}: 0.5x, {_EXAMPLES[axis]}; or {LEAST}.",
    )
