"""Thinner, fewer and shared layers: what each pass alone and pairs of them cost, by quality, bytes, MACs and latency.

    python benchmarks/structure.py FOLDER [--only gpt] [--steps 100] [--budget 3h] [--timing]

MiniLM (no labels), the Fashion-MNIST ViT and ResNet, and the GPT. Every row is a pass list as the command takes it,
then as many steps of recovery from the original, folded and lowered to FOLDER; then all files of a subject are timed
in ONNX Runtime at batch 1 with one thread, interleaved. Bytes are those of unique parameters, as folded. Printed with
it: every place where one cost falls and another does not (The Efficiency Misnomer). Finished cells are kept in
`results/structure.json`, and a later run with the same FOLDER goes on from there; `--timing` times finished rows again,
to be done on an idle machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from cells import Cell, Cells, arguments
from subjects import SUBJECTS, Subject

from compressor.devices.latency.lookup import latency_model
from compressor.devices.local import compare
from compressor.devices.side_by_side import side_by_side
from compressor.export.onnx import to_onnx
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.recover import recover
from compressor.passlist import parse_passes
from compressor.report.indicators import Indicator, conflicts
from compressor.targets.loader import load_target

__all__ = ["ROWS", "indicators", "table"]

TESTS, SAMPLES, BATCH = 2048, 256, 32
LINEAR = "linearize=0.5:train=100steps,fold"  # activations fade out while it trains
ALONE = ("factorize=0.3", "factorize=0.5", "drop=0.25", "share=2", LINEAR)
PAIRS = ("drop=0.25,share=2", "drop=0.25,factorize=0.3", "share=2,factorize=0.3")
ROWS: Mapping[str, tuple[str, ...]] = {
    "minilm": (*ALONE, *PAIRS),
    "vit": (*ALONE, *PAIRS),
    "resnet": ("factorize=0.3", "factorize=0.5", "drop=0.25", LINEAR, "drop=0.25,factorize=0.3"),
    "gpt": (*ALONE, *PAIRS),
}
COUNTS = ("bytes", "macs")
SECONDS, TIME = 1.0, " timed"


def main() -> int:
    parser = arguments(__doc__, ROWS, "3h")
    parser.add_argument("folder", type=Path, help="where the ONNX files are kept")
    parser.add_argument("--steps", type=int, default=100, help="of recovery")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--timing", action="store_true", help="time all rows again")
    options = parser.parse_args()
    cells = Cells("structure", options.budget)
    for name in options.only:
        subject, folder = SUBJECTS[name](TESTS), options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        makers = {_key(name): functools.partial(_original, subject, folder)}
        for passes in ROWS[name]:
            makers[_key(name, passes, options.steps)] = functools.partial(_row, subject, passes, options.steps, folder)
        fresh = False
        for key, make in makers.items():
            fresh |= cells.measure(key, make, options.again or not _file(folder, key).exists())
        if (fresh or options.timing) and _file(folder, _key(name)).exists():
            _time(subject, folder, cells)
        print("\n" + "\n".join(table(name, subject.metric_name, cells)) + "\n")
    found = conflicts(indicators(cells))
    print("\n".join(map(str, found)) or "no conflict")
    print(cells.took())
    return 0 if len({conflict.method for conflict in found}) >= 3 else 1


def _key(name: str, passes: str = "original", steps: int = 0) -> str:
    return f"{name} {passes} @{steps}" if steps else f"{name} {passes}"


def _original(subject: Subject, folder: Path) -> Cell:
    program = _deployed(subject.program, Context(load_target("host")), _file(folder, _key(subject.name)))
    return {**subject.figures(program), "weight_bytes": program.unique_bytes(), "all_macs": _macs(program)}


def _row(subject: Subject, passes: str, steps: int, folder: Path) -> Cell:
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
    done = _deployed(done, context, _file(folder, _key(subject.name, passes, steps)))
    dense = Fold().run(subject.program, context).program
    return {
        **{f"cut_{name}": value for name, value in subject.figures(program).items()}, **subject.figures(done),
        "bytes": done.unique_bytes() / dense.unique_bytes(), "macs": _macs(done) / _macs(dense), "declined": declined,
    }  # fmt: skip


def _deployed(program: Program, context: Context, path: Path) -> Program:
    """Folded, and lowered to this file."""
    folded = Fold().run(program, context).program
    to_onnx(folded, context.target).save(path)
    return folded


def _file(folder: Path, key: str) -> Path:
    return folder / (key.split(" ", 1)[1].replace(" ", "-").replace("/", "-") + ".onnx")


def _time(subject: Subject, folder: Path, cells: Cells) -> None:
    """Every file in turn with the original's: milliseconds, and times the original's with its interval."""
    keys = [key for key in cells if key.startswith(f"{subject.name} ") and not key.endswith(TIME)]
    paths = {key: _file(folder, key) for key in keys if _file(folder, key).exists()}
    batch = {name: value[:1] for name, value in subject.batches(BATCH, 0)[0].items()}
    found = compare(paths, batch, threads=1, min_seconds=SECONDS, max_seconds=4 * SECONDS * len(paths))
    for key, one in found.items():
        both = side_by_side(found[_key(subject.name)], one)
        figures = {"ms": one.p50, "low": both.low, "time": both.ratio, "high": both.high}
        cells.measure(key + TIME, functools.partial(dict, figures), again=True)


def _macs(program: Program) -> int:
    return Roofline().predict(program, load_target("host")).macs


def indicators(cells: Mapping[str, Cell]) -> Iterator[Indicator]:
    """Three costs of every row that was timed, as ratios to the original's."""
    for key, cell in cells.items():
        took = cells.get(key + TIME)
        if "macs" in cell and took is not None:
            for name in COUNTS:
                yield Indicator.counted(key, name, 1.0, cell[name])
            yield Indicator(key, "latency", took["low"], took["time"], took["high"])


def table(name: str, metric: str, cells: Mapping[str, Cell]) -> Iterator[str]:
    """A subject's rows as Markdown, the fastest last."""
    plain = cells.get(_key(name), {metric: math.nan})
    rows = {key: cell for key, cell in cells.items() if key.startswith(f"{name} ") and "macs" in cell}
    times = {key: cells.get(key + TIME, dict.fromkeys(("low", "time", "high"), math.nan)) for key in rows}
    yield f"| {name}: {metric} {plain[metric]:.4f} | as cut | recovered | bytes | MACs | time (95%) |"
    yield "|---|---|---|---|---|---|"
    for key in sorted(rows, key=lambda key: -times[key]["time"] if times[key]["time"] > 0 else 0.0):
        cell, took, passes = rows[key], times[key], key.removeprefix(f"{name} ")
        span = f"{took['time']:.2f} ({took['low']:.2f}–{took['high']:.2f})"
        figures = f"{cell[f'cut_{metric}']:.4f} | {cell[metric]:.4f}"
        yield f"| {passes} | {figures} | {cell['bytes']:.2f} | {cell['macs']:.2f} | {span} |"


if __name__ == "__main__":
    raise SystemExit(main())
