"""Which score should choose what is pruned: every score on every trained network, at the same cut, three seeds.

    python benchmarks/scores.py [--only resnet ...] [--seeds 3] [--budget 30min]

Uniform widths, so that only the choice of units differs; with and without the reconstruction of the weights that stay,
before any training. Finished cells are kept in `results/scores.json`, and a later run goes on from there. The default
of `prune` (`passes/pruning/scores.py`) is chosen from this table.

On test samples: those that a network was trained on favour what it memorized (MobileNetV2's own training images put
magnitude a point above Taylor's, its test images a point below).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import get_args

from cells import Cell, Cells, arguments
from subjects import SUBJECTS, Subject, spread

from compressor.graph.concrete import op_name
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.prune import Prune
from compressor.passes.pruning.scores import Score
from compressor.targets.loader import load_target

TARGET = "raspberry-pi-5"
SAMPLES, TESTS = 256, 2000
AMOUNT = 0.5  # of the multiply–accumulates goes
SCORES = tuple(score for score in get_args(Score) if score != "auto")


def main() -> None:
    parser = arguments(__doc__, SUBJECTS, "30min")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cells = Cells("scores", options.budget)
    for name in options.only:
        subject = SUBJECTS[name](TESTS)
        cells.measure(f"{name} dense", lambda: {"value": subject.metric(subject.program)})  # noqa: B023
        for score, seed, fitted in itertools.product(_scores(subject), range(options.seeds), (False, True)):
            if fitted or not seed:  # one seed shows what the fit is for
                cells.measure(_key(name, score, fitted, seed), functools.partial(_cell, subject, score, fitted, seed))
        _table(subject, cells, options.seeds)
    print(cells.took())


def _scores(subject: Subject) -> tuple[str, ...]:
    """Those that have something to go by: `prune` refuses batch norm's scale where there is no batch norm."""
    has_norms = any(op_name(node) == "batch_norm" for node in subject.program.nodes())
    return tuple(score for score in SCORES if has_norms or score != "batchnorm")


def _key(name: str, score: str, fitted: bool, seed: int) -> str:
    return f"{name} {score} {'fitted' if fitted else 'bare'} {AMOUNT} seed {seed}"


def _cell(subject: Subject, score: Score, fitted: bool, seed: int) -> Cell:
    context = Context(
        load_target(TARGET), latency=Roofline(), calibration=subject.batches(SAMPLES, seed), synthetic=False, seed=seed
    )
    pruned = Prune(amount=AMOUNT, score=score, samples=SAMPLES, reconstruct=fitted).run(subject.program, context)
    return {"value": subject.metric(pruned.program)}


def _table(subject: Subject, cells: Mapping[str, Cell], seeds: int) -> None:
    name, dense = subject.name, cells[f"{subject.name} dense"]["value"]
    print(f"\n{name}: {subject.metric_name} {dense:.4f} before, {AMOUNT:.0%} of the MACs pruned")
    rows = []
    for score in _scores(subject):
        keys = [[_key(name, score, fitted, seed) for seed in range(seeds)] for fitted in (False, True)]
        found = [[cells[key]["value"] for key in column if key in cells] for column in keys]
        if all(found):
            rows.append((score, [spread(values) for values in found]))
    for score, figures in sorted(rows, key=lambda row: -subject.better * row[1][1][0]):
        print(f"  {score:18}" + "".join(f"{mean:12.4f} ± {error:.4f}" for mean, error in figures))
    print("  (as cut, then fitted to the original layers)\n")


if __name__ == "__main__":
    main()
