"""Thinner, fewer and shared layers: what each pass alone and pairs of them cost, by quality, bytes, MACs and latency.

    python benchmarks/structure.py [--only gpt] [--steps 100] [--budget 3h]

MiniLM (no labels), the Fashion-MNIST ViT and ResNet, and the GPT. Every row is a pass list as the command takes it,
then as many steps of recovery from the original; lowered, and timed in ONNX Runtime at batch 1, interleaved with the
original. Bytes are those of unique parameters. Printed with it: every place where one cost falls and another does not
(The Efficiency Misnomer). Finished cells are kept in `results/structure.json`, and a later run goes on from there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from cells import Cell, Cells, arguments
from subjects import SUBJECTS, Subject
from timing import timed

from compressor.devices.latency.lookup import latency_model
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.recover import recover
from compressor.passlist import parse_passes
from compressor.report.indicators import Indicator, conflicts
from compressor.targets.loader import load_target

__all__ = ["ROWS", "indicators", "table"]

TESTS, SAMPLES, BATCH = 2048, 256, 32
ALONE = ("factorize=0.3", "factorize=0.5", "drop=0.25", "share=2", "linearize=0.5,fold")
PAIRS = ("drop=0.25,share=2", "drop=0.25,factorize=0.3", "share=2,factorize=0.3")
ROWS: Mapping[str, tuple[str, ...]] = {
    "minilm": (*ALONE, *PAIRS),
    "vit": (*ALONE, *PAIRS),
    "resnet": ("factorize=0.3", "factorize=0.5", "drop=0.25", "linearize=0.5,fold", "drop=0.25,factorize=0.3"),
    "gpt": (*ALONE, *PAIRS),
}
COUNTS = ("bytes", "macs")


def main() -> int:
    parser = arguments(__doc__, ROWS, "3h")
    parser.add_argument("--steps", type=int, default=100, help="of recovery")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    cells = Cells("structure", options.budget)
    for name in options.only:
        subject = SUBJECTS[name](TESTS)
        cells.measure(f"{name} original", functools.partial(_original, subject))
        for passes in ROWS[name]:
            key = f"{name} {passes} @{options.steps}"
            cells.measure(key, functools.partial(_row, subject, passes, options.steps), again=options.again)
        print("\n" + "\n".join(table(name, subject.metric_name, cells)) + "\n")
    found = conflicts(indicators(cells))
    print("\n".join(map(str, found)) or "no conflict")
    print(cells.took())
    return 0 if len({conflict.method for conflict in found}) >= 3 else 1


def _original(subject: Subject) -> Cell:
    return subject.figures(subject.program)


def _row(subject: Subject, passes: str, steps: int) -> Cell:
    target, calibration = load_target("host"), subject.batches(SAMPLES, 0)
    batches, held = subject.batches(steps * BATCH, 1), subject.batches(4 * BATCH, 2)
    context = Context(
        target, latency=latency_model(target), calibration=calibration, training=batches, teacher=subject.program,
        synthetic=False,
    )  # fmt: skip
    program, declined = subject.program, 0
    for spec in parse_passes(passes):
        result = spec.build().run(program, context)
        program, declined = result.program, declined + len(result.skipped)
    done = recover(program, subject.program, batches, f"{steps}steps", held=held).program
    times = timed(subject.program, done, context, calibration[0])
    return {
        **{f"cut_{name}": value for name, value in subject.figures(program).items()}, **subject.figures(done),
        "bytes": done.unique_bytes() / subject.program.unique_bytes(), "macs": _macs(done) / _macs(subject.program),
        "declined": declined, "ms": times["ms"],
        "time": 1 / times["speedup"], "time_low": 1 / times["speedup_high"], "time_high": 1 / times["speedup_low"],
    }  # fmt: skip


def _macs(program: Program) -> int:
    return Roofline().predict(program, load_target("host")).macs


def indicators(cells: Mapping[str, Cell]) -> Iterator[Indicator]:
    """Three costs of every row, as ratios to the original's."""
    for key, cell in cells.items():
        if "macs" in cell:
            for name in COUNTS:
                yield Indicator.counted(key, name, 1.0, cell[name])
            yield Indicator(key, "latency", cell["time_low"], cell["time"], cell["time_high"])


def table(name: str, metric: str, cells: Mapping[str, Cell]) -> Iterator[str]:
    """A subject's rows as Markdown, the fastest last."""
    rows = {key.removeprefix(f"{name} "): cell for key, cell in cells.items() if key.startswith(f"{name} ")}
    plain = rows.pop("original", {metric: float("nan")})
    yield f"| {name}: {metric} {plain[metric]:.4f} | as cut | recovered | bytes | MACs | time (95%) |"
    yield "|---|---|---|---|---|---|"
    for passes, cell in sorted(rows.items(), key=lambda item: -item[1]["time"]):
        span = f"{cell['time']:.2f} ({cell['time_low']:.2f}–{cell['time_high']:.2f})"
        figures = f"{cell[f'cut_{metric}']:.4f} | {cell[metric]:.4f}"
        yield f"| {passes} | {figures} | {cell['bytes']:.2f} | {cell['macs']:.2f} | {span} |"


if __name__ == "__main__":
    raise SystemExit(main())
