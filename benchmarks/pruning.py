"""Accuracy against work and time: Fashion-MNIST networks pruned and recovered, beside Torch-Pruning's DepGraph.

    python benchmarks/pruning.py [--only resnet vit mobilenetv2] [--amounts 0.3 0.5 0.7] [--budget 2h] [--timing]

Both are cut to the same multiply–accumulates, recovered alike (the same engine, 3 epochs of 20,000 images without
labels, and seed, the dense network as the teacher), folded, lowered by us, and timed in ONNX Runtime at batch 1,
interleaved with the dense network. One seed for the grid, three where there is a goal. Finished cells are kept in
`results/pruning.json`, and a later run goes on from there; `--timing` cuts anew and measures their times alone, for an
idle machine: training leaves shapes as they are.

Goals, for resnet and vit at half the MACs: at most 0.3 points below the dense network, at least 1.6 times as fast,
and better than DepGraph in at least 80% of the cells that it completes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

from cells import Cell, Cells, arguments
from depgraph import pruned as depgraph
from models import fashion
from subjects import SUBJECTS, Subject, spread
from timing import timed
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.prune import Prune
from compressor.passes.recover import recover
from compressor.targets.loader import load_target

NAMES, METHODS = ("resnet", "vit", "mobilenetv2"), ("ours", "depgraph")
GOAL = {"names": ("resnet", "vit"), "amount": 0.5, "points": 0.003, "speedup": 1.6, "better": 0.8}
SEEDS = 3
BUDGET, IMAGES, TESTS = "3epochs", 20000, 10000


def main() -> int:
    parser = arguments(__doc__, NAMES, "2h")
    parser.add_argument("--amounts", nargs="+", type=float, default=[0.5, 0.3, 0.7])
    parser.add_argument(
        "--timing", action="store_true", help="measure the times of finished cells again, train nothing"
    )
    options = parser.parse_args()
    cells = Cells("pruning", options.budget)
    for seed, amount, name, method in itertools.product(range(SEEDS), options.amounts, options.only, METHODS):
        key = f"{name} {method} {amount} seed {seed}"
        if options.timing and "failed" not in cells.get(key, {"failed": ""}):
            timed_again = functools.partial(_times, name, method, amount, seed, cells)
            cells.measure(key, lambda: {**cells[key], **timed_again()}, again=True)  # noqa: B023
        elif not options.timing and (not seed or (name in GOAL["names"] and amount == GOAL["amount"])):
            made = functools.partial(_cell, name, method, amount, seed, cells)
            cells.measure(key, made, again="failed" in cells.get(key, {}))
    met = _report(cells)
    print(cells.took())
    return 0 if met else 1


def _cell(name: str, method: str, amount: float, seed: int, cells: Mapping[str, Cell]) -> Cell:
    subject, context = _subject(name, seed)
    try:
        smaller = (_ours if method == "ours" else _theirs)(subject, amount, seed, context, cells)
        batches = subject.batches(IMAGES, seed)
        recovered = recover(smaller, subject.program, batches, BUDGET, seed=seed).program
        before = Roofline().predict(subject.program, context.target).macs
        return {
            "dense": subject.metric(subject.program),
            "cut": subject.metric(smaller),
            "recovered": subject.metric(recovered),
            "macs": Roofline().predict(recovered, context.target).macs / before,
            "parameters": recovered.parameters() / subject.program.parameters(),
            **timed(subject.program, recovered, context, context.calibration[0]),
        }
    except Exception as error:  # noqa: BLE001  a failure of any type is a cell of the table
        return {"failed": f"{type(error).__name__}: {error}"[:300]}


def _times(name: str, method: str, amount: float, seed: int, cells: Mapping[str, Cell]) -> Mapping[str, float]:
    subject, context = _subject(name, seed)
    smaller = (_ours if method == "ours" else _theirs)(subject, amount, seed, context, cells)
    return timed(subject.program, smaller, context, context.calibration[0])


def _subject(name: str, seed: int) -> tuple[Subject, Context]:
    subject = SUBJECTS[name](TESTS)
    context = Context(
        load_target("host"), latency=Roofline(), calibration=subject.batches(256, seed), synthetic=False, seed=seed
    )
    return subject, context


def _ours(subject: Subject, amount: float, seed: int, context: Context, cells: Mapping[str, Cell]) -> Program:
    return Prune(amount=amount, samples=256).run(subject.program, context).program


def _theirs(subject: Subject, amount: float, seed: int, context: Context, cells: Mapping[str, Cell]) -> Program:
    """At the MACs that ours ended with."""
    ours = cells.get(f"{subject.name} ours {amount} seed {seed}", {}).get("macs", 1 - amount)
    images = fashion.tensors("test")[0][:2]

    def program(module: nn.Module) -> Program:
        return capture(module, (images,)).program

    def count(candidate: Program) -> float:
        return Roofline().predict(candidate, context.target).macs

    macs, multiple = 1.0001 * ours * count(subject.program), context.target.width_multiple
    return program(depgraph(subject.name, images, macs, multiple, lambda module: count(program(module))))


def _report(cells: Mapping[str, Cell]) -> bool:
    """The goals, each with its figures; whether all are judged and met. A cell that we fail is one that we lose."""
    met = True
    for name in GOAL["names"]:
        keys = [f"{name} ours {GOAL['amount']} seed {seed}" for seed in range(SEEDS)]
        found = [cells[key] for key in keys if "failed" not in cells.get(key, {"failed": ""})]
        met &= len(found) == SEEDS
        if found:
            lost, error = spread([c["dense"] - c["recovered"] for c in found])
            speed, _ = spread([c["speedup"] for c in found])
            met &= lost <= GOAL["points"] and speed >= GOAL["speedup"]
            print(f"{name}: {100 * lost:.2f} ± {100 * error:.2f} points lost (goal 0.3), {speed:.2f}× (goal 1.6)")
    theirs = {k: c for k, c in cells.items() if " depgraph " in k and "failed" not in c}
    pairs = [(cells.get(k.replace("depgraph", "ours"), {"failed": ""}), c) for k, c in theirs.items()]
    if not pairs:
        return False
    better = sum(a.get("recovered", 0.0) > b["recovered"] for a, b in pairs) / len(pairs)
    faster = sum(a.get("speedup", 0.0) > b["speedup"] for a, b in pairs) / len(pairs)
    print(f"more accurate than DepGraph in {better:.0%} of the {len(pairs)} cells that it completes (goal 80%)")
    print(f"faster than DepGraph in {faster:.0%} of them")
    return met and better >= GOAL["better"]


if __name__ == "__main__":
    raise SystemExit(main())
