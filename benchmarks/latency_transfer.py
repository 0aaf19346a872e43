"""The latency model on boards it has not seen: from few measurements, and from specifications alone.

    python benchmarks/latency_transfer.py --data DIR [--only mlperf ncnn specifications] [--draws 50] [--statistic avg]

DIR holds the two tables that `fetch_latency_data.py` makes. Judged are models that were not among the samples:
|predicted / measured − 1| ≤ 10%. One scale, one scale a format and a matrix of rank 6 stand beside `Transfer`; all are
given the same samples, those that `Transfer.choose` picks and random ones. No measurement of the board in question but
its samples is seen by any of them; ncnn's boards are left out with all of their columns.

    mlperf           three rounds of Jetson Xavier's CPU → Raspberry Pi 4, TFLite, 94 mobile classifiers
    ncnn             every machine on ncnn's page left out; "boards" are those without servers and desktop PCs
    specifications   every board of `latency/boards.toml` left out; nothing measured on it

Figures go to results/latency_transfer.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from latency.baselines import LowRank, Scale
from latency.boards import described
from latency.judge import Tally, random_samples
from latency.tables import MLPERF, NCNN, formats_of, mlperf_table, ncnn_settings, ncnn_table
from latency.works import mobile_work

from compressor.devices.latency.boards.specifications import Specifications
from compressor.devices.latency.boards.table import LatencyTable
from compressor.devices.latency.boards.transfer import Transfer
from compressor.versions import versions

RESULTS = Path(__file__).parent / "results" / "latency_transfer.json"
COUNTS = (10, 5)
SERVERS = (
    "AMD Ryzen Threadripper", "HUAWEI KunPeng", "HUAWEI Kunpeng", "AWS", "Hyper-V", "Intel® Core™", "Xeon Phi",
    "AMD EPYC", "Microsoft Azure",
)  # fmt: skip
Tallies = dict[str, Tally]
Methods = dict[str, Any]  # by name, what has `predict`


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help=f"folder with {MLPERF} and {NCNN}")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--draws", type=int, default=50, help="sets of random samples for each column")
    parser.add_argument("--statistic", choices=("min", "avg"), default="avg", help="of ncnn's repetitions")
    options = parser.parse_args()
    if options.data is None or not (options.data / MLPERF).is_file() or not (options.data / NCNN).is_file():
        print(f"--data: a folder with {MLPERF} and {NCNN} is needed. Make it from their public sources:")
        print("  python benchmarks/fetch_latency_data.py --out DIR")
        return 2
    kept = json.loads(RESULTS.read_text())["parts"] if RESULTS.exists() else {}
    for name in options.only:
        figures = PARTS[name](options)
        kept[name if options.statistic == "avg" else f"{name} {options.statistic}"] = figures
        RESULTS.write_text(json.dumps({"versions": versions(), "parts": kept}, indent=1) + "\n")
        for row, values in figures.items():
            print(f"{name:15} {row:52} {values}", flush=True)
    return 0


def mlperf(options: argparse.Namespace) -> dict[str, Any]:
    """Xavier's CPU → Raspberry Pi 4."""
    source = mlperf_table(options.data, "xavier", "tflite")
    target = mlperf_table(options.data, "rpi4", "tflite")
    models = [model for model in source.models if model in target.models]
    formats, work = formats_of(source.models), {model: mobile_work(model) for model in source.models}
    ours = Transfer(source, work=work, formats=formats)
    methods = {**_baselines(source), "transfer": ours}
    tallies: Tallies = {}
    for column in target.devices:
        truth = {model: value for model, value in target.column(column).items() if model in models}
        for count in COUNTS:
            drawn = random_samples(models, count, options.draws, seed=count)
            for kind, sets in (("chosen", [ours.choose(count, models)]), ("random", drawn)):
                for samples in sets:
                    _judge(tallies, [f"{count} {kind}"], methods, column, truth, samples)
    rounds = [(table, a, b) for table in (source, target) for a, b in itertools.pairwise(table.devices)]
    again = {f"noise: {a} ↔ {b}": _agreement(table, a, b) for table, a, b in rounds}
    return {**{name: tallies[name].figures() for name in sorted(tallies)}, **again}


def ncnn(options: argparse.Namespace) -> dict[str, Any]:
    """Each machine left out."""
    table = ncnn_table(options.data, options.statistic)
    tallies: Tallies = {}
    for board in dict.fromkeys(table.boards):
        source = table.without(board)
        ours = Transfer(source, formats=formats_of(source.models))
        methods = {**_baselines(source), "transfer": ours}
        groups = ("all",) if board.startswith(SERVERS) else ("all", "boards")
        for column in (c for c, b in zip(table.devices, table.boards, strict=True) if b == board):
            truth = {m: v for m, v in table.column(column).items() if m in source.models}
            for count in COUNTS:
                drawn = random_samples(list(truth), count, options.draws, seed=count)
                for kind, sets in (("chosen", [ours.choose(count, list(truth))]), ("random", drawn)):
                    for samples in sets:
                        _judge(tallies, [f"{group} {count} {kind}" for group in groups], methods, board, truth, samples)
    return {name: tallies[name].figures() for name in sorted(tallies)}


def specifications(options: argparse.Namespace) -> dict[str, Any]:
    """Each described board left out; the roof alone (one work over peak rate for every model) beside."""
    full = ncnn_table(options.data, options.statistic)
    found = {column: described(*ncnn_settings(column)) for column in full.devices}
    about = {column: each for column, each in found.items() if each is not None}
    table = LatencyTable.of({c: full.column(c) for c in about}, {c: ncnn_settings(c)[0] for c in about})
    ratios: dict[str, list[float]] = {"peak rate alone": [], "specifications": []}
    held: list[bool] = []
    for board in dict.fromkeys(table.boards):
        source = table.without(board)
        learned = Specifications(source, about)
        rates = np.log([about[column].rate for column in source.devices])
        work = dict(zip(source.models, np.exp(np.nanmedian(source.logs + rates, axis=1)), strict=True))
        for column in (c for c, b in zip(table.devices, table.boards, strict=True) if b == board):
            predicted, truth = learned.predict(about[column]), table.column(column)
            for model in (m for m in truth if m in predicted):
                ratios["peak rate alone"].append(float(work[model]) / about[column].rate / truth[model])
                ratios["specifications"].append(predicted[model].milliseconds / truth[model])
                held.append(predicted[model].low <= truth[model] <= predicted[model].high)
    figures: dict[str, Any] = {name: _errors(values) for name, values in ratios.items()}
    figures["specifications"]["coverage"] = round(float(np.mean(held)), 4)
    return {**figures, "boards": len(set(table.boards)), "columns": len(table.devices)}


def _baselines(source: LatencyTable) -> Methods:
    scales = {"scale": Scale(source), "scale a format": Scale(source, formats_of(source.models))}
    return {**scales, "rank 6": LowRank(source)}


def _judge(
    tallies: Tallies, cases: list[str], methods: Methods, board: str, truth: dict[str, float], samples: tuple[str, ...]
) -> None:
    known = {model: truth[model] for model in samples}
    for name, method in methods.items():
        predicted = method.predict(known)
        held = None
        if name == "transfer":
            rest = [(predicted[m], truth[m]) for m in truth if m not in samples]
            held = float(np.mean([each.low <= value <= each.high for each, value in rest]))
            predicted = {model: each.milliseconds for model, each in predicted.items()}
        for case in cases:
            tally = tallies.setdefault(f"{case}: {name}", Tally())
            tally.add(board, truth, samples, predicted)
            tally.held += [] if held is None else [held]


def _agreement(table: LatencyTable, one: str, other: str) -> dict[str, float]:
    """How the same board measured twice agrees: the noise that no prediction gets below."""
    a, b = table.column(one), table.column(other)
    ratios = np.array([a[model] / b[model] for model in a if model in b])
    low, high = (round(float(np.quantile(ratios, level)), 3) for level in (0.1, 0.9))
    return {"within_10%": round(float(np.mean(np.abs(ratios - 1) <= 0.1)), 4), "10%": low, "90%": high}


def _errors(ratios: list[float]) -> dict[str, float]:
    values = np.array(ratios)
    return {
        "median_error": round(float(np.median(np.abs(values - 1))), 4),
        "within_2x": round(float(np.mean((values <= 2) & (values >= 0.5))), 4),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "mlperf": mlperf, "ncnn": ncnn, "specifications": specifications,
}  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())
