"""Tokens a second and memory of whole decoders, ternary in TVM beside ONNX Runtime's formats.

    python benchmarks/whole_decoders.py [--sizes 125M 350M 1.3B] [--threads 1 2] [--only NAME …] [--rounds 6] [--again]

Decoders are LLaMA-shaped with random weights (`models/llama.py`): what a token costs does not depend on them. Each of
the contestants (`decoder_contestants.py`) has a process of its own; they take turns of 16 tokens, from 128 places to
256, and a figure is of the least times of each turn. Memory is what the process holds after that, runtime and Python
included. Artifacts are made once, in `--artifacts`; cells are kept in `results/whole_decoders.json` and measured where
they are not there. The goals are at one thread: 1.8 times the portable ternary, 6 times fp32. All of it takes an hour
on a quiet machine, most of it to make the artifacts; the largest takes 20 GB of memory.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cells import Cells
from decoder_contestants import CONTESTANTS, FIRST, PLACES, TURN, Process, build, offered
from decoder_sizes import SIZES

__all__ = ["GOALS", "figures", "goals", "table"]

OURS = "tvm ternary"
GOALS = {"ort ternary": 1.8, "ort fp32": 6.0}  # how many times as fast, at one thread
PAUSE = 0.05  # seconds after a turn, in which the thread pool that had it falls asleep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["125M", "350M", "1.3B"], choices=list(SIZES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", default=offered(), choices=offered(), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=6, help="times through the 128 tokens")
    parser.add_argument("--artifacts", type=Path, default=Path(tempfile.gettempdir()) / "edge-compressor-decoders")
    parser.add_argument("--budget", default="3h")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    cells = Cells("whole_decoders", options.budget)
    for size, threads in itertools.product(options.sizes, options.threads):
        folders = {name: options.artifacts / size / name.replace(" ", "-") for name in options.only}

        def cell(
            size: str = size, threads: int = threads, folders: Mapping[str, Path] = folders
        ) -> Mapping[str, float]:
            for name, folder in folders.items():
                _alone(build, name, size, folder)
            return _measure(folders, threads, options.rounds)

        cells.measure(f"{size} {threads} threads", cell, options.again)
    print(table(cells))
    return 0


def _alone(function: Any, *arguments: Any) -> None:
    """In a process that gives its memory back when it ends."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{arguments[0]} cannot be made: its process ended with {process.exitcode}")


def _measure(folders: Mapping[str, Path], threads: int, rounds: int) -> dict[str, float]:
    workers = {name: Process(folder, threads) for name, folder in folders.items()}
    best: dict[str, dict[int, float]] = {name: {} for name in workers}
    for _ in range(rounds * ((PLACES - FIRST) // TURN)):
        for name, worker in workers.items():
            part, seconds = worker.turn()
            best[name][part] = min(seconds, best[name].get(part, seconds))
            time.sleep(PAUSE)
    for worker in workers.values():
        worker.close()
    told = {name: worker.told for name, worker in workers.items()}
    return figures(best, told)


def figures(best: Mapping[str, Mapping[int, float]], told: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of each contestant tokens a second, megabytes that its process holds, and those of its file."""
    found: dict[str, float] = {}
    for name, parts in best.items():
        found[name] = TURN * len(parts) / sum(parts.values())
        found[f"{name} MB"], found[f"{name} file MB"] = told[name]["resident"], told[name]["stored"]
    return found


def goals(cell: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast as each of the others."""
    if OURS not in cell:
        return {}
    return {name: cell[OURS] / cell[name] for name in CONTESTANTS if name != OURS and name in cell}


def table(cells: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a line a cell; tokens a second (megabytes held)."""
    lines = [f"| decoder | {' | '.join(CONTESTANTS)} | ours is |", "|---" * (len(CONTESTANTS) + 2) + "|"]
    for key, cell in cells.items():
        shown = (f"{cell[n]:.1f} ({cell[f'{n} MB']:.0f} MB)" if n in cell else "–" for n in CONTESTANTS)
        reached = ", ".join(f"{times:.2f} × {name}" for name, times in goals(cell).items())
        lines.append(f"| {key} | {' | '.join(shown)} | {reached} |")
    for key, cell in cells.items():
        for name, wanted in GOALS.items():
            if key.endswith(" 1 threads") and name in goals(cell):
                times = goals(cell)[name]
                word = "reached" if times >= wanted else "missed"
                lines.append(f"goal, {key}: {times:.2f} × {name}, at least {wanted}: {word}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
