"""The plan for a budget of time against one setting everywhere of each pass, and against other tools: five networks.

    python benchmarks/plan_models.py FOLDER [--only resnet …] [--shares 0.7 0.5 0.35] [--steps 300] [--budget 3h]

    plan 0.5×   `compress --latency 0.5x`: nothing else binds
    goal        `compress --latency min --size 0.25x --max-drop 1%`
    uniform     the mildest setting of prune, factorize, drop or quantize that measures no slower than the plan,
                trained for as many steps with the same data
    peers       ONNX Runtime's and NNCF's int8, at their settings

All are ONNX files in ONNX Runtime on one thread, timed in turn in one sitting on one sample, and judged on samples
that no tool was given. A plan wins against a pass where its metric is no worse, or where no setting of it is as fast.
Goals: the plan wins all cells; within 1% of the metric it is 2 times faster and 4 times smaller than fp32, and 1.3
times faster than the fastest peer within 1%, on 4 of 5 networks. Finished cells are kept in `results/plan_models.json`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from cells import Cell, Cells, arguments
from models import fashion, text
from models.gpt import CONTEXT
from plan_contestants import LADDERS, Workbench
from subjects import SUBJECTS, Subject, stacked

from compressor.devices.latency.lookup import latency_model
from compressor.devices.local import compare
from compressor.errors import CompressError
from compressor.graph.contract import Batch, Context
from compressor.targets import load_target

__all__ = ["chosen", "judged", "table"]

TESTS, GATE = 8000, 2000  # samples that figures are of, and that the command judges by
CALIBRATION, TRAINING = 256, 8192
SHARES = (0.7, 0.5, 0.35)
GOAL = ("--latency", "min", "--size", "0.25x", "--max-drop", "1%")
LOST = 0.01  # of the metric, that the goal allows
NOISE = 1.02  # of the plan's time, that counts as no slower
FASTER, SMALLER, THAN_PEERS, NETWORKS = 2.0, 4.0, 1.3, 4
BETTER = {"accuracy": 1, "cosine": 1, "perplexity": -1}


def main() -> int:
    parser = arguments(str(__doc__), SUBJECTS, "3h")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--timing", action="store_true", help="time what is there again")
    options = parser.parse_args()
    cells = Cells("plan_models", options.budget)
    for name in options.only:
        if not cells.over:
            _subject(name, options.folder, options.shares, options.steps, cells, options.timing)
    print(table(cells))
    met = [met for told, met in judged(cells) if not print(f"{'held' if met else 'MISSED':7} {told}")]
    print(cells.took())
    return 0 if met and all(met) else 1


def _subject(name: str, folder: Path, shares: Sequence[float], steps: int, cells: Cells, again: bool) -> None:
    subject, board = SUBJECTS[name](TESTS), load_target("host")
    context = Context(
        board, latency=latency_model(board), calibration=subject.batches(CALIBRATION, 1),
        training=subject.batches(TRAINING, 2), synthetic=False, teacher=subject.program,
    )  # fmt: skip
    bench = Workbench(subject, context, folder, steps)
    bench.prepare(*_gate_data(subject))
    files = {"fp32": bench.plain}
    cells.measure(f"{name} fp32", lambda: bench.judged(bench.plain))
    plans = {f"plan {share:g}×": ("--latency", f"{share:g}x", "--max-drop", "10000%") for share in shares}
    for label, budgets in {**plans, "goal": GOAL}.items():
        cells.measure(f"{name} {label}", functools.partial(bench.plan, label, *budgets))
        if f"{name} {label}" in cells:
            files[label] = bench.plan_file(label)
    for row in bench.peers():
        _file(name, row, bench, functools.partial(bench.peer, row), cells, files)
    fresh = cells.measure(f"{name} ladder", lambda: _ladder(files, bench), again=again)
    times = cells.get(f"{name} ladder", {}).get("ms", {})
    wanted = {chosen(times, passed, times.get(plan)) for plan in plans for passed in LADDERS} - {None}
    for setting in sorted(map(str, wanted)):
        _file(name, f"uniform {setting}", bench, functools.partial(bench.uniform, setting, True), cells, files)
    cells.measure(f"{name} timed", lambda: {"ms": _timed(files, subject)}, again=fresh or again)


def _gate_data(subject: Subject) -> tuple[Batch, torch.Tensor | None]:
    """What the command judges by: other samples than the figures are of (of the GPT's pages, other windows)."""
    if subject.name == "gpt":
        return {subject.program.inputs[0].name: text.windows("test", GATE // 32, CONTEXT, seed=1)}, None
    if subject.name == "minilm":
        return stacked(subject.batches(GATE // 8, 3)), None
    images, labels = fashion.tensors("test")
    return {subject.program.inputs[0].name: images[-GATE:]}, labels[-GATE:]


def _file(
    name: str, row: str, bench: Workbench, make: Callable[[], Path], cells: Cells, files: dict[str, Path]
) -> None:  # fmt: skip
    """Judge what is made, and add it to the files; where it cannot be made, keep why."""

    def figures() -> Cell:
        try:
            return bench.judged(make())
        except CompressError as error:
            return {"cannot": str(error)[:200]}

    cells.measure(f"{name} {row}", figures)
    if "bytes" in cells.get(f"{name} {row}", {}):
        files[row] = make()


def _ladder(files: Mapping[str, Path], bench: Workbench) -> Cell:
    """Milliseconds of every setting, untrained, beside the plans'."""
    made, cannot = dict(files), {}
    for setting in itertools.chain(*LADDERS.values()):
        try:
            made[setting] = bench.uniform(setting, False)
        except CompressError as error:
            cannot[setting] = str(error)[:200]
    return {"ms": _timed(made, bench.subject), "cannot": cannot}


def _timed(files: Mapping[str, Path], subject: Subject) -> dict[str, float]:
    sample = {name: value[:1] for name, value in subject.batches(32, 0)[0].items()}
    found = compare(files, sample, threads=1, min_runs=30, min_seconds=0.5, warmup_seconds=0.2, max_seconds=150.0)
    return {name: round(measured.p50, 5) for name, measured in found.items()}


def chosen(times: Mapping[str, float], passed: str, limit: float | None) -> str | None:
    """The mildest setting of a pass that is no slower than `limit` milliseconds; None where none is."""
    fast = (s for s in LADDERS[passed] if limit is not None and s in times and times[s] <= NOISE * limit)
    return next(fast, None)


def _networks(cells: Mapping[str, Cell]) -> dict[str, dict[str, Cell]]:
    found: dict[str, dict[str, Cell]] = {}
    for key, cell in cells.items():
        name, _, rest = key.partition(" ")
        found.setdefault(name, {})[rest] = cell
    return {name: rows for name, rows in found.items() if "timed" in rows and "fp32" in rows}


def _metric(cell: Mapping[str, Any]) -> tuple[str, float]:
    return next((name, float(cell[name])) for name in BETTER if name in cell)


def _duels(rows: Mapping[str, Cell]) -> dict[str, dict[str, tuple[bool, str]]]:
    """By budget and pass: whether the plan wins, and against what."""
    found: dict[str, dict[str, tuple[bool, str]]] = {}
    times = rows["ladder"]["ms"]
    for plan in (row for row in rows if row.startswith("plan ") and row in times):
        name, mine = _metric(rows[plan])
        for each in LADDERS:
            setting = chosen(times, each, times[plan])
            other = rows.get(f"uniform {setting}", {})
            if setting is None or "cannot" in other:
                found.setdefault(plan, {})[each] = True, "not as fast"
            elif other:
                theirs = _metric(other)[1]
                won = BETTER[name] * (mine - theirs) >= 0
                found.setdefault(plan, {})[each] = won, f"{theirs:.4f} ({setting.partition(':')[0]})"
    return found


def judged(cells: Mapping[str, Cell]) -> list[tuple[str, bool]]:
    """Every goal with its figures, and whether it is met."""
    found = []
    for name, rows in _networks(cells).items():
        for plan, duels in _duels(rows).items():
            lost = [f"{each} {told}" for each, (won, told) in duels.items() if not won]
            found.append((f"{name} {plan}: {_metric(rows[plan])[1]:.4f}, behind {', '.join(lost) or 'none'}", not lost))
    kept = {name: _kept(rows) for name, rows in _networks(cells).items() if "goal" in rows}
    if kept:
        met = sum(each for _, each in kept.values())
        told = "; ".join(f"{name} {text}" for name, (text, _) in kept.items())
        found.append((f"goal kept on {met} of {len(kept)} networks ({NETWORKS} of 5): {told}", met >= NETWORKS))
    return found


def _kept(rows: Mapping[str, Cell]) -> tuple[str, bool]:
    """Whether the plan within 1% is as fast and small as was hoped, and how fast and small it is."""
    times, (name, plain) = rows["timed"]["ms"], _metric(rows["fp32"])

    def lost(row: str) -> float:
        return BETTER[name] * (plain - _metric(rows[row])[1]) / plain

    faster, smaller = times["fp32"] / times["goal"], rows["fp32"]["bytes"] / rows["goal"]["bytes"]
    peers = {row: times[row] for row in times if " ort " in row or " nncf " in row if lost(row) <= LOST}
    best = min(peers, key=peers.__getitem__, default=None)
    ahead = times["fp32" if best is None else best] / times["goal"]
    told = (
        f"lost {lost('goal'):.2%}, {faster:.2f} times faster and {smaller:.2f} smaller than fp32, {ahead:.2f} times "
        f"faster than {best or 'fp32, as no peer is within 1%'}"
    )
    return told, lost("goal") <= LOST and faster >= FASTER and smaller >= SMALLER and ahead >= THAN_PEERS


def table(cells: Mapping[str, Cell]) -> str:
    """A line a plan: its measured time and metric, and each pass's at that time."""
    head = ["network", "plan", "of fp32's time", "bytes", "metric (fp32)", *LADDERS]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, rows in _networks(cells).items():
        times, plain = rows["timed"]["ms"], rows["fp32"]
        for plan, duels in _duels(rows).items():
            cell = rows[plan]
            shown = [
                name, plan, f"{times[plan] / times['fp32']:.2f}", f"{cell['bytes'] / plain['bytes']:.2f}",
                f"{_metric(cell)[1]:.4f} ({_metric(plain)[1]:.4f})", *(duels.get(p, (0, "–"))[1] for p in LADDERS),
            ]  # fmt: skip
            lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
