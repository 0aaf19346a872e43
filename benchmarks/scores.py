"""Which score should choose what is pruned: every score on every trained network, at the same cut, three seeds.

    python benchmarks/scores.py [--only resnet ...] [--amount 0.5] [--seeds 3] [--tests 2000] [--budget 30min]

Uniform widths, so that only the choice of units differs; with and without the reconstruction of the weights that stay,
before any training. Finished cells are kept in `results/scores.json`, and a later run goes on from there. The default
of `prune` (`passes/pruning/scores.py`) is chosen from this table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, get_args

from subjects import SUBJECTS, Subject, spread

from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.prune import Prune
from compressor.passes.pruning.scores import Score
from compressor.passes.recover.budget import parse_budget
from compressor.targets.loader import load_target
from compressor.versions import versions

RESULTS = Path(__file__).parent / "results" / "scores.json"
TARGET = "raspberry-pi-5"
SAMPLES = 256


def main() -> None:
    arguments = _arguments()
    cells: dict[str, Any] = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}
    limit, started = parse_budget(arguments.budget), time.monotonic()
    for name in arguments.only:
        subject = SUBJECTS[name](arguments.tests)
        cells.setdefault(f"{name} dense", {"metric": subject.metric_name, "value": subject.metric(subject.program)})
        for score in get_args(Score):
            for seed in range(arguments.seeds):
                for reconstruct in (False, True):
                    key = f"{name} {score} {'fitted' if reconstruct else 'bare'} {arguments.amount} seed {seed}"
                    if key in cells or score == "auto" or limit.amount < time.monotonic() - started:
                        continue
                    cells[key] = _cell(subject, score, reconstruct, arguments.amount, seed)
                    RESULTS.write_text(json.dumps({"versions": versions(), "cells": cells}, indent=1) + "\n")
                    print(f"{key:52} {cells[key]['value']:.4f}  {cells[key]['seconds']:.0f} s", flush=True)
        _table(name, subject.better, cells, arguments)
    print(f"took {time.monotonic() - started:.0f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--amount", type=float, default=0.5, help="share of the multiply–accumulates that goes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tests", type=int, default=2000, help="test samples")
    parser.add_argument("--budget", default="30min")
    return parser.parse_args()


def _cell(subject: Subject, score: Score, reconstruct: bool, amount: float, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    context = Context(
        load_target(TARGET), latency=Roofline(), calibration=subject.batches(SAMPLES, seed), synthetic=False, seed=seed
    )
    found = Prune(amount=amount, score=score, samples=SAMPLES, reconstruct=reconstruct).run(subject.program, context)
    return {"value": subject.metric(found.program), "seconds": round(time.monotonic() - started, 1)}


def _table(name: str, better: int, cells: dict[str, Any], arguments: argparse.Namespace) -> None:
    dense = cells[f"{name} dense"]
    print(f"\n{name}: {dense['metric']} {dense['value']:.4f} before, {arguments.amount:.0%} of the MACs pruned")
    rows = []
    for score in get_args(Score):
        found = []
        for kind in ("bare", "fitted"):
            keys = [f"{name} {score} {kind} {arguments.amount} seed {seed}" for seed in range(arguments.seeds)]
            values = [cells[key]["value"] for key in keys if key in cells]
            found.append(spread(values) if values else (float("nan"), 0.0))
        if found[1][0] == found[1][0]:
            rows.append((score, found))
    for score, found in sorted(rows, key=lambda row: -better * row[1][1][0]):
        print(f"  {score:18}" + "".join(f"{mean:12.4f} ± {error:.4f}" for mean, error in found))
    print("  (as cut, then fitted to the original layers)\n")


if __name__ == "__main__":
    main()
