"""The works-when checks of LLM-Pruner, Minitron, OTOv2, SlimSAM, EfficientLLM, Sheared LLaMA, Hinton, OFA-KD and
DistilCamemBERT's preset: each with what was measured, held or missed. (Wanda's is `sparsity.py`.)

    python benchmarks/works_when.py [--only NAME ...] [--seeds 3] [--budget 60min]

Arms of a check see the same data for the same steps; those that choose on the way what goes hold out a sixth of it
where recovery alone does not. Finished cells are kept in `results/works_when.json`, and a later run goes on from there;
the exit status says whether every goal was judged and holds. Every check was sized for about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

from claims import CLAIMS, Claim, judged

from compressor.passes.recover.budget import parse_budget
from compressor.versions import versions

RESULTS = Path(__file__).parent / "results" / "works_when.json"


def main() -> int:
    options = _arguments()
    cells: dict[str, Any] = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}
    started, limit = time.monotonic(), parse_budget(options.budget).amount
    for seed, name in itertools.product(range(options.seeds), options.only):
        for arm, run in CLAIMS[name].arms.items():
            key = f"{name} {arm} seed {seed}"
            if key in cells or time.monotonic() - started > limit:
                continue
            began = time.monotonic()
            figures = {figure: round(value, 6) for figure, value in run(seed).items()}
            cells[key] = {**figures, "seconds": round(time.monotonic() - began, 1)}
            RESULTS.write_text(json.dumps({"versions": versions(), "cells": cells}, indent=1) + "\n")
            shown = "  ".join(f"{figure} {value:.4f}" for figure, value in figures.items())
            print(f"{key:44} {shown}  {cells[key]['seconds']:.0f} s", flush=True)
    held = [report(CLAIMS[name], cells, options.seeds) for name in options.only]
    together = sum(cell["seconds"] for cell in cells.values())
    print(f"took {time.monotonic() - started:.0f} s; all cells together {together:.0f} s")
    return 0 if all(held) else 1


def report(claim: Claim, cells: dict[str, Any], seeds: int) -> bool:
    """Prints every goal with its figure; whether all hold."""

    def figures(name: str) -> dict[int, float]:
        arm, figure = name.split(".")
        found = {seed: cells.get(f"{claim.name} {arm} seed {seed}") for seed in range(seeds)}
        return {seed: cell[figure] for seed, cell in found.items() if cell is not None}

    print(f"\n{claim.name}: {claim.says}")
    held = True
    for goal in claim.goals:
        verdict = judged(goal, figures)
        if verdict is None:
            held = False
            print(f"  ?       {goal.says}: not measured for all seeds")
            continue
        held &= verdict.holds
        sign = f"≤ {goal.bound:g}" if goal.kind == "ratio" else f"≥ {goal.bound:+g}"
        word = "held" if verdict.holds else "MISSED"
        print(f"  {word:7} {goal.says}: {verdict.value:.4f} ± {verdict.error:.4f} (goal {sign})")
    return held


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CLAIMS, default=list(CLAIMS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", default="60min")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
