"""Do options add up? Random plans: what the planner's tables say of them, and what they cost when they are built.

    python benchmarks/plan_joint.py FOLDER [--only resnet …] [--plans 30] [--budget 3h]

A plan changes a random share of all sites (5% to 60%), each by a random option of it. Damage is the sum of what each
option does alone (Puzzle's assumption); time is the tables' product by layer, uncorrected. The truth is the program
that the plan makes, by the same latency model and on the same samples. Goal: rank correlation of damage 0.8 at least.
Finished plans are kept in `results/plan_joint.json`; FOLDER keeps what was measured of options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cells import Cells, arguments
from scipy.stats import spearmanr
from subjects import SUBJECTS
from weighing import Weighed, weigh

from compressor.plan.parts import parts_of
from compressor.plan.realize import realize

__all__ = ["GOAL", "judged", "table"]

GOAL, TESTS = 0.8, 512
SHARES = (0.05, 0.6)


def main() -> int:
    parser = arguments(str(__doc__), SUBJECTS, "3h")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plans", type=int, default=30)
    options = parser.parse_args()
    cells = Cells("plan_joint", options.budget)
    for name in options.only:
        missing = [number for number in range(options.plans) if f"{name} {number}" not in cells]
        if missing and not cells.over:
            known = weigh(SUBJECTS[name](TESTS), options.folder)
            for number in missing:
                cells.measure(f"{name} {number}", lambda number=number, known=known: _plan(known, number))  # type: ignore[misc]
    print(table(cells))
    print(cells.took())
    return 0 if all(judged(cells).values()) else 1


def _plan(known: Weighed, seed: int) -> dict[str, Any]:
    tables, random = known.planner.plain, np.random.default_rng(seed)
    share = random.uniform(*SHARES)
    sizes = [len(site.options) for site in tables.sites]
    picks = tuple(int(random.integers(1, size)) if random.random() < share else 0 for size in sizes)
    said = tables.problem({}, {}, {}).costs(picks)
    built = realize(tables, picks, known.program, known.context)
    swapper = known.planner.swapper
    parts = parts_of(built.program, known.context, swapper.known)
    return {
        "sites": sum(map(bool, picks)), "damage_said": said["damage"], "damage": swapper.damage(built.program) or 0.0,
        "ms_said": said["latency"], "ms": parts.latency_ms, "bytes_said": said["size"], "bytes": parts.bytes,
    }  # fmt: skip


def figures(plans: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Rank correlations, and the median relative error, of what was said."""
    found: dict[str, float] = {}
    for name in ("damage", "ms", "bytes"):
        said, true = ([plan[key] for plan in plans] for key in (f"{name}_said", name))
        found[f"{name} rank"] = float(spearmanr(said, true).statistic)
        found[f"{name} error"] = median(abs(a / b - 1) for a, b in zip(said, true, strict=True) if b)
    return found


def _by_subject(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for key, cell in cells.items():
        found.setdefault(key.partition(" ")[0], []).append(cell)
    return found


def judged(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Whether the goal is met, by subject."""
    return {name: figures(plans)["damage rank"] >= GOAL for name, plans in _by_subject(cells).items()}


def table(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a subject."""
    lines = ["| network | plans | damage: rank | error | time: rank | error | bytes: rank | error |", "|---" * 8 + "|"]
    for name, plans in _by_subject(cells).items():
        found = figures(plans)
        shown = " | ".join(f"{found[f'{n} rank']:.3f} | {found[f'{n} error']:.1%}" for n in ("damage", "ms", "bytes"))
        lines.append(f"| {name} | {len(plans)} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
