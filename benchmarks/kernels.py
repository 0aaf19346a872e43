"""Products with ternary and int8 weights: our kernels in TIR beside ONNX Runtime's, and beside what the machine gives.

    python benchmarks/kernels.py [--shapes 4096x4096 …] [--rows 1 1-cold 16 128] [--threads 1 2] [--rounds 15]

Every cell is one shape, number of rows and number of threads. Its contestants run interleaved, a turn each a round; the
probes (memory read, dot products) among them. A figure is the least of all rounds. Rounding the activations is inside
our times, as it is inside theirs. Cells are kept in `results/kernels.json` and only measured where they are not there,
or `--again`. All of it takes about 8 minutes on a quiet machine; `--keep NAME` is another file, of another processor,
and `--keep none` only prints.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

from cells import Cells
from kernel_contestants import CONTESTANTS, Case, serve

from compressor.targets.machine import this_machine

__all__ = ["goals", "table"]

SHAPES = ("4096x4096", "11008x4096", "2048x2048")
ROWS = ("1", "1-cold", "16", "128")
PAUSE = 0.05  # seconds after a turn, in which its thread pool falls asleep: ONNX Runtime's spins for more than 3 ms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), help="outputs x inputs")
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", default=offered(), choices=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", default="2h")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--keep", default="kernels", help="the file in results; none only prints")
    options = parser.parse_args()
    cells = None if options.keep == "none" else Cells(options.keep, options.budget)
    found: dict[str, Mapping[str, float]] = {}
    workers = Workers(options.only)
    try:
        for shape, rows, threads in itertools.product(options.shapes, options.rows, options.threads):
            key = f"{shape} {rows} rows {threads} threads"
            case = _case(shape, rows, threads)
            if cells is None:
                found[key] = workers.measure(case, options.rounds)
                print(table({key: found[key]}), flush=True)
            else:
                cells.measure(key, lambda case=case: workers.measure(case, options.rounds), options.again)  # type: ignore[misc]
    finally:
        workers.close()
    print(table(found if cells is None else cells))
    return 0


def offered() -> list[str]:
    """All contestants; but where a dot product is several instructions the loop that only multiplies has most of them
    taken out of it, and is no limit."""
    fused = {"avx512_vnni", "avx512vnni", "avx_vnni", "avxvnni", "asimddp"} & set(this_machine().features)
    return [name for name in CONTESTANTS if fused or name != "dot products"]


def _case(shape: str, rows: str, threads: int) -> Case:
    outputs, inputs = map(int, shape.split("x"))
    number, _, cold = rows.partition("-")
    return Case(outputs, inputs, int(number), threads, cold == "cold")


class Workers:
    """A process for every contestant."""

    def __init__(self, names: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers: dict[str, tuple[multiprocessing.process.BaseProcess, Connection]] = {}
        for name in names:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, name), daemon=True)
            process.start()
            self._workers[name] = process, ours

    def measure(self, case: Case, rounds: int) -> dict[str, float]:
        """Microseconds a call by contestant; of the probes GB and GMAC a second."""
        for _, connection in self._workers.values():
            connection.send(case)
            if connection.recv() != "ready":
                raise RuntimeError("a contestant is out of step")
        best = dict.fromkeys(self._workers, float("inf"))
        for _ in range(rounds):
            for name, (_, connection) in self._workers.items():
                connection.send("turn")
                best[name] = min(best[name], connection.recv())
                time.sleep(PAUSE)
        return {name: _figure(name, seconds) for name, seconds in best.items()}

    def close(self) -> None:
        for process, connection in self._workers.values():
            if process.is_alive():
                connection.send(None)
                process.join(10)


def _figure(name: str, seconds: float) -> float:
    return 1e-9 / seconds if name in ("memory", "dot products") else seconds * 1e6


def goals(key: str, cell: Mapping[str, float]) -> dict[str, float]:
    """What the issue asks of a cell: speed-ups over ONNX Runtime, and shares of what the machine gives."""
    case = _case(key.split()[0], key.split()[1], int(key.split()[3]))
    ours, made = cell.get("tir ternary"), {}
    if ours is None:
        return {}
    for name, other in (("2 bits", "ort 2 bits"), ("int8", "ort int8"), ("fp32", "ort fp32")):
        if other in cell:
            made[f"× ORT {name}"] = cell[other] / ours
    if "custom op" in cell and "ort 2 bits" in cell:
        made["× ORT 2 bits, custom op"] = cell["ort 2 bits"] / cell["custom op"]
    if case.cold and "memory" in cell:
        made["of memory"] = case.outputs * case.inputs / 4 / ours / 1e3 / cell["memory"]
    if case.rows > 1 and "dot products" in cell:
        made["of dot products"] = case.rows * case.outputs * case.inputs / ours / 1e3 / cell["dot products"]
    return made


def table(cells: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a line a cell."""
    lines = [f"| product | {' | '.join(CONTESTANTS)} | goals |", "|---" * (len(CONTESTANTS) + 2) + "|"]
    for key, cell in cells.items():
        figures = (f"{cell[name]:.1f}" if name in cell else "–" for name in CONTESTANTS)
        reached = ", ".join(f"{value:.2f} {name}" for name, value in goals(key, cell).items())
        lines.append(f"| {key} | {' | '.join(figures)} | {reached} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
