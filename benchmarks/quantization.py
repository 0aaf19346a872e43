"""Int8, int4, mixed and ternary beside ONNX Runtime's own quantization and NNCF's: quality, bytes, time.

    python benchmarks/quantization.py FOLDER [--only vit] [--rows 'int8*'] [--train] [--threads 1 2] [--again 'int4*']

The three Fashion-MNIST nets (accuracy), MiniLM (cosine with the float embeddings) and the GPT (perplexity). All rows of
a subject start from one trained program and its fp32 ONNX file, calibrate on the same 128 samples, are judged as ONNX
files in ONNX Runtime on the same data, and are timed interleaved on one sample. FOLDER keeps the files. Finished cells
are kept in `results/quantization.json`; `--again` makes rows anew; `--timing` times finished rows again, to be done on
an idle machine. The exit status says whether every goal was judged and is met.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from artifact import Artifact
from cells import Cell, Cells, arguments
from quantizers import KINDS, ROWS, Job, Row
from quantizing_goals import judged
from subjects import SUBJECTS, Subject

from compressor.devices.latency.lookup import latency_model
from compressor.devices.local import Measurement, compare
from compressor.devices.side_by_side import side_by_side
from compressor.graph.contract import Context
from compressor.targets.loader import load_target

TESTS, SAMPLES, TRAINING = 10000, 128, 8192


def main() -> int:
    parser = arguments(__doc__, SUBJECTS, "3h")
    parser.add_argument("folder", type=Path, help="where the ONNX files are kept")
    parser.add_argument("--rows", nargs="+", default=["*"], help="names or globs")
    parser.add_argument("--again", nargs="+", default=[], help="rows to make anew, names or globs")
    parser.add_argument("--train", action="store_true", help="with the rows that are trained")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--timing", action="store_true", help="time all rows again")
    parser.add_argument("--tests", type=int, default=TESTS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the tools' own
    cells = Cells("quantization", options.budget)
    wanted = [row for row in ROWS.values() if _matches(row.name, options.rows) and (options.train or not row.trained)]
    for name in options.only:
        rows = [row for row in wanted if name in row.subjects]
        folder = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        subject = SUBJECTS[name](options.tests)
        fresh = _make(
            subject, [ROWS["fp32"], *(row for row in rows if row.name != "fp32")], folder, cells, options.again
        )
        for threads in options.threads:
            _time(subject, folder, cells, threads, options.timing or fresh)
    for name in options.only:
        _table(name, cells, options.threads)
    met = [met for text, met in judged(cells) if not print(f"{'held' if met else 'MISSED':7} {text}")]
    print(cells.took())
    return 0 if met and all(met) else 1


def _make(subject: Subject, rows: Sequence[Row], folder: Path, cells: Cells, again: Sequence[str]) -> bool:
    """Every row's file and figures that are not there yet; whether one was made."""
    training = functools.cache(lambda: subject.batches(TRAINING, 1))
    target = load_target("host")
    context = Context(
        target, latency=latency_model(target), calibration=subject.batches(SAMPLES, 0), synthetic=False,
        training=training() if any(row.trained for row in rows) else (), teacher=subject.program,
    )  # fmt: skip
    job = Job(subject, context, file_of(folder, "fp32"))
    made = False
    for row in rows:
        renewed = _matches(row.name, again)
        if renewed or not file_of(folder, row.name).exists():
            made |= cells.measure(
                f"{subject.name} {row.name}", functools.partial(_figures, job, row, folder), again=True
            )
    return made


def _figures(job: Job, row: Row, folder: Path) -> Cell:
    path, part = file_of(folder, row.name), folder / "part.onnx"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            row.make(job, part)
        figures = job.subject.figures(Artifact(part))
    except Exception as error:  # noqa: BLE001  whatever a tool raises is what it makes of this network
        return {
            "tool": row.tool,
            "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}",
        }
    part.replace(path)
    return {"tool": row.tool, "bytes": path.stat().st_size, **figures}


def _time(subject: Subject, folder: Path, cells: Cells, threads: int, again: bool) -> None:
    """All files of the subject in turn: milliseconds, times the fp32 file's, and our int8 file's over each."""
    keys = [key for key in cells if key.startswith(f"{subject.name} ") and "bytes" in cells[key]]
    names = [key.removeprefix(f"{subject.name} ") for key in keys]
    names = [name for name in names if file_of(folder, name).exists()]
    if not again and all(f"{subject.name} {name} @{threads}" in cells for name in names):
        return
    batches = subject.batches(SAMPLES, 0)
    batch = {name: value[:1] for name, value in batches[len(batches) // 2].items()}
    limits = {"min_seconds": 1.0, "max_seconds": 4.0 * len(names)}
    found = compare({name: file_of(folder, name) for name in names}, batch, threads=threads, **limits)
    for name in names:
        cells.measure(f"{subject.name} {name} @{threads}", functools.partial(_times, found, name), again=True)


def _times(found: Mapping[str, Measurement], name: str) -> Cell:
    cell: Cell = {"ms": found[name].p50}
    for other, key in (("fp32", "of_fp32"), ("int8", "of_int8")):
        if other in found:
            both = side_by_side(found[other], found[name])
            cell[key] = [round(value, 4) for value in (both.low, both.ratio, both.high)]
    return cell


def file_of(folder: Path, row: str) -> Path:
    return folder / f"{row.replace(' ', '-')}.onnx"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _table(name: str, cells: Cells, threads: Sequence[int]) -> None:
    print(f"\n{name}")
    for line in table(name, cells, threads):
        print(line)


def table(name: str, cells: Mapping[str, Cell], threads: Sequence[int]) -> Iterator[str]:
    """A subject's rows as Markdown, by kind, ours first."""
    rows = {
        key.removeprefix(f"{name} "): cell
        for key, cell in cells.items()
        if key.startswith(f"{name} ") and "@" not in key
    }
    metric = next((key for cell in rows.values() for key in ("accuracy", "cosine", "perplexity") if key in cell), "")
    yield f"| {name} | {metric} | MB | " + " | ".join(f"ms, {t} thread{'s' * (t > 1)} | × fp32" for t in threads) + " |"
    yield "|---|---|---|" + "---|---|" * len(threads)
    for row, cell in sorted(
        rows.items(), key=lambda item: (KINDS.index(item[0].split()[0]), item[1]["tool"] != "ours")
    ):
        if "failed" in cell:
            yield f"| {row} | {cell['failed']} | |" + " | |" * len(threads)
            continue
        times = []
        for count in threads:
            timed = cells.get(f"{name} {row} @{count}", {})
            low, ratio, high = timed.get("of_fp32", (math.nan,) * 3)
            times.append(f"{timed.get('ms', math.nan):.3f} | {ratio:.2f} ({low:.2f}–{high:.2f})")
        yield f"| {row} | {cell[metric]:.4f} | {cell['bytes'] / 1e6:.2f} | " + " | ".join(times) + " |"


if __name__ == "__main__":
    raise SystemExit(main())
