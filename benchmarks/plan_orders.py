"""Is the planner's order of passes the right one? The same plan carried out in three orders, with the same training.

    python benchmarks/plan_orders.py FOLDER [--only resnet …] [--share 0.5] [--steps 300] [--seeds 1] [--budget 3h]

    planner      structure → rank → recover → bits → recover        three quarters of the steps, then a quarter
    at the end   structure → rank → bits → recover                  all steps, with the weights as they are rounded
    rank first   rank → structure → recover → bits → recover        as the planner's, with ranks before widths

The plan is the planner's for a share of the predicted time. Each order has the same settings, as many steps and the
same data; what a pass has to leave out in an order is told. Goal: the planner's order is no worse than either other
one, by the network's own metric. Finished cells are kept in `results/plan_orders.json`; FOLDER keeps what was weighed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from cells import Cells, arguments
from subjects import SUBJECTS, Subject
from weighing import Weighed, weigh

from compressor.passes import find_pass
from compressor.passlist import PassSpec
from compressor.plan.parts import sketched
from compressor.plan.planner import Wish
from compressor.planning import DAMAGE
from compressor.recovering import AFTER_BITS, trained_as_rounded

__all__ = ["ORDERS", "ordered", "table"]

TESTS = 2048
ORDERS = ("planner", "at the end", "rank first")
WORSE = 0.002  # of the metric, that is noise


def main() -> int:
    parser = arguments(str(__doc__), SUBJECTS, "3h")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    cells = Cells("plan_orders", options.budget)
    for name in options.only:
        wanted = [(order, seed) for seed in range(options.seeds) for order in ORDERS]
        keys = {each: f"{name} {options.share:g}× @{options.steps} {each[0]} {each[1]}" for each in wanted}
        missing = [each for each in wanted if keys[each] not in cells]
        if not missing or cells.over:
            continue
        subject = SUBJECTS[name](TESTS)
        known = weigh(subject, options.folder)
        limits = {"latency": options.share * known.planner.base.latency_ms, "damage": DAMAGE}
        specs = known.planner.plan(Wish(limits)).best.specs  # type: ignore[arg-type]
        for order, seed in missing:
            passes = ordered(specs, order, options.steps)
            cells.measure(keys[order, seed], lambda p=passes, s=seed, k=known, of=subject: _done(of, k, p, s))  # type: ignore[misc]
    print(table(cells))
    print(cells.took())
    return 0 if all(judged(cells).values()) else 1


def ordered(specs: Sequence[PassSpec], order: str, steps: int) -> list[PassSpec]:
    """A plan's passes in one of the orders, with training. Raises ValueError for an order that is none."""
    if order not in ORDERS:
        raise ValueError(f"{order!r} is none of {ORDERS}")
    bits = [spec for spec in specs if find_pass(spec.name).order >= find_pass("quantize").order]
    cuts = [spec for spec in specs if spec not in bits]
    if order == "rank first":
        cuts.sort(key=lambda spec: -find_pass(spec.name).order)
    before = 0 if order == "at the end" and bits else steps if not bits else round(steps * (1 - AFTER_BITS))
    recovery = [PassSpec("recover", {"budget": f"{before}steps"})] if before else []
    return [*cuts, *recovery, *(trained_as_rounded(spec, f"{steps - before}steps") for spec in bits)]


def _done(subject: Subject, known: Weighed, specs: Sequence[PassSpec], seed: int) -> dict[str, Any]:
    program, context, left = known.program, replace(known.context, seed=seed), 0
    for spec in specs:
        result = spec.build().run(program, context)
        program, left = result.program, left + len(result.skipped)
    parts = known.planner.swapper.parts(sketched(program))
    return {
        subject.metric_name: subject.metric(program), "ms": parts.latency_ms, "bytes": parts.bytes, "left_out": left,
        "passes": " → ".join(spec.name for spec in specs),
    }  # fmt: skip


def judged(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Whether the planner's order is no worse than either other one, by network and setting."""
    found = {}
    for title, orders in _rows(cells).items():
        better = 1 if "accuracy" in orders["planner"][0] or "cosine" in orders["planner"][0] else -1
        means = {order: better * mean(_metric(cell) for cell in listed) for order, listed in orders.items()}
        found[title] = all(means["planner"] >= value - WORSE * abs(value) for value in means.values())
    return found


def table(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a network and setting: the metric's mean in each order, and predicted milliseconds."""
    lines = ["| network | " + " | ".join(ORDERS) + " |", "|---" * (1 + len(ORDERS)) + "|"]
    for title, orders in _rows(cells).items():
        shown = (f"{mean(map(_metric, orders[o])):.4f} ({orders[o][0]['ms']:.3f} ms)" for o in ORDERS)
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _rows(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """By network and setting the cells of each order, where all are there."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for key, cell in cells.items():
        title, order = next((key.partition(f" {order} ")[0], order) for order in ORDERS if f" {order} " in key)
        found.setdefault(title, {}).setdefault(order, []).append(cell)
    return {title: orders for title, orders in found.items() if set(orders) == set(ORDERS)}


def _metric(cell: Mapping[str, Any]) -> float:
    return float(next(cell[name] for name in ("accuracy", "cosine", "perplexity") if name in cell))


if __name__ == "__main__":
    raise SystemExit(main())
