"""BitNet's table on this machine: LLaMA-shaped decoders in fp32, int4 and ternary with ONNX Runtime.

    python benchmarks/bitnet_table.py [--only 125M 1.3B] [--threads 1 2] [--rounds 12] [--folder DIR]

Weights are random, for cost is what is measured: bytes on disk, memory resident in a process of its own after loading
and one step (all embeddings counted, though a step reads a row of them), and the time of a step at batch 1 with 128
tokens in the cache. The three formats are three processes that run in turn. Goals, from the paper's table against fp16
on a GPU (arXiv:2402.17764: 2.6 times less memory and 1.23 times faster at 700M, 2.93 and 1.67 times at 1.3B): ternary
weights resident take 1/2.6 of fp16's bytes at 700M and 1/2.9 at 1.3B, and a step a third of ONNX Runtime's fp32 time.

Files go to a temporary folder (1.3B: 6.5 GB). Finished cells are kept in `results/bitnet_table.json`. Run it on an idle
machine with 16 GB: some ten minutes.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bitnet.decoder import FORMATS, SHAPES, embedding_bytes, write_decoder
from cells import Cell, Cells, arguments

from compressor.devices.runner.timing import Subject, interleave
from compressor.devices.side_by_side import LEAST_ROUNDS, interval

WORKER = Path(__file__).parent / "bitnet" / "worker.py"
TURN = 0.5  # seconds of steps, one at least
MEMORY = {"700M": 2.6, "1.3B": 2.9}  # times less than fp16's bytes
SPEED = 3.0  # times faster than fp32


class Worker(Subject):
    """A process with one decoder; its turns are steps there. `memory` is what it told first."""

    def __init__(self, model: Path, threads: int, stack: ExitStack) -> None:
        super().__init__(lambda: None)
        command = [sys.executable, str(WORKER), str(model), str(threads)]
        self.process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self.process.kill)
        self.memory: dict[str, Any] = self._answer()
        if not self.memory["finite"]:
            raise SystemExit(f"{model.name} computes what is not finite, or nothing")

    def block(self) -> list[float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{TURN}\n")
        self.process.stdin.flush()
        return self.had(self._answer())

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of a decoder ended with {self.process.wait()}")
        return json.loads(line)


def main() -> int:
    parser = arguments(__doc__, SHAPES, "60min")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="where the files are written meanwhile")
    parser.add_argument("--again", action="store_true", help="measure finished cells once more")
    options = parser.parse_args()
    cells = Cells("bitnet_table", options.budget)
    for size in options.only:
        counts = [n for n in options.threads if options.again or f"{size} fp32 @{n}" not in cells]
        if counts and not cells.over:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                measured(size, counts, max(options.rounds, LEAST_ROUNDS), Path(folder), cells)
    for line in table(cells):
        print(line)
    met = [met for text, met in judged(cells) if not print(f"{'held' if met else 'MISSED':7} {text}")]
    print(cells.took())
    return 0 if met and all(met) else 1


def measured(size: str, counts: Sequence[int], rounds: int, folder: Path, cells: Cells) -> None:
    """One size: its files, then for each number of threads the three formats in turn."""
    paths = {format: folder / f"{format}.onnx" for format in FORMATS}
    sizes = {format: write_decoder(SHAPES[size], format, path) for format, path in paths.items()}
    for threads in counts:
        with ExitStack() as stack:
            workers = {format: Worker(path, threads, stack) for format, path in paths.items()}
            turns: dict[str, list[float]] = {format: [] for format in FORMATS}
            for worker in workers.values():
                worker.block()
            for times in interleave(workers, min_runs=1, min_seconds=0, min_rounds=rounds + 1):
                for format, block in times.items():
                    turns[format].append(median(block) * 1e3)
        for format, worker in workers.items():
            told = worker.memory
            resident = told["VmRSS_grown"] + embedding_bytes(SHAPES[size], format)
            figures = {
                "ms": median(turns[format]), "bytes": sizes[format], "resident": resident, "process": told["VmRSS"],
                "peak": told["VmHWM"], "load_s": told["load_s"],
                "of_fp32": [round(value, 4) for value in interval(_ratios(turns["fp32"], turns[format]))],
            }  # fmt: skip
            cells.measure(f"{size} {format} @{threads}", functools.partial(dict, figures), again=True)


def _ratios(before: Sequence[float], after: Sequence[float]) -> list[float]:
    return [new / old for old, new in zip(before, after, strict=True)]


def table(cells: Mapping[str, Cell]) -> Iterator[str]:
    """As Markdown."""
    yield "| decoder | format | MB on disk | MB resident | fp16's bytes ÷ resident | ms a token, threads: × fp32 |"
    yield "|---|---|---|---|---|---|"
    for size, shape in SHAPES.items():
        for format in FORMATS:
            timed = {n: cells[f"{size} {format} @{n}"] for n in (1, 2) if f"{size} {format} @{n}" in cells}
            if timed:
                one = next(iter(timed.values()))
                times = ", ".join(f"{n}: {cell['ms']:.1f} ({cell['of_fp32'][1]:.2f})" for n, cell in timed.items())
                share = 2 * shape.parameters / one["resident"]
                yield (
                    f"| {size} ({shape.parameters / 1e6:.0f}M) | {format} | {one['bytes'] / 1e6:.0f} | "
                    f"{one['resident'] / 1e6:.0f} | {share:.2f} | {times} |"
                )


def judged(cells: Mapping[str, Cell]) -> Iterator[tuple[str, bool]]:
    """Every goal that can be judged, with its figures, and whether it is met."""
    for size, shape in SHAPES.items():
        cell = cells.get(f"{size} ternary @1")
        if cell is not None and size in MEMORY:
            share = 2 * shape.parameters / cell["resident"]
            yield (
                f"{size}: ternary resident is 1/{share:.2f} of fp16's bytes (goal 1/{MEMORY[size]})",
                share >= MEMORY[size],
            )
        for threads in (1, 2):
            cell = cells.get(f"{size} ternary @{threads}")
            if cell is not None:
                low, ratio, high = cell["of_fp32"]
                text = (
                    f"{size}, {threads} thread{'s' * (threads > 1)}: ternary takes {ratio:.3f} ({low:.3f}–{high:.3f})"
                )
                yield f"{text} of fp32's time (goal 1/{SPEED:g})", ratio <= 1 / SPEED


if __name__ == "__main__":
    raise SystemExit(main())
