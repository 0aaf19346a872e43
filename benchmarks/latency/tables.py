"""The two tables of public measurements (`fetch_latency_data.py` makes them) as latency tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from compressor.devices.latency.boards.table import LatencyTable
from compressor.errors import InputError

__all__ = ["MLPERF", "NCNN", "formats_of", "mlperf_table", "ncnn_settings", "ncnn_table"]

MLPERF, NCNN = "mlperf_edge.csv", "ncnn_bench.csv"
_FEW = 90  # the systems of MLPerf's open division that ran all 94 mobile classifiers
_RARE = 5  # models on fewer columns than this say nothing about each other


def ncnn_table(folder: Path, statistic: str = "avg") -> LatencyTable:
    """Columns are board | threads | powersave | section; a second section of the same is a column of its own."""
    columns: dict[str, dict[str, float]] = {}
    boards: dict[str, str] = {}
    for row in _rows(folder / NCNN):
        section = 0
        while row["model"] in columns.get(name := _column(row, section), {}):
            section += 1
        if float(row[statistic]) > 0:
            columns.setdefault(name, {})[row["model"]] = float(row[statistic])
            boards[name] = row["device"]
    seen = [model for column in columns.values() for model in column]
    rare = {model for model in set(seen) if seen.count(model) < _RARE and len(columns) >= _RARE}
    kept = {name: {m: v for m, v in column.items() if m not in rare} for name, column in columns.items()}
    return LatencyTable.of(kept, boards)


def ncnn_settings(column: str) -> tuple[str, int, int]:
    """The board, threads and power-save mode of a column."""
    board, threads, powersave, _ = column.rsplit(" | ", 3)
    return board, int(threads), int(powersave)


def mlperf_table(folder: Path, board: str, runtime: str) -> LatencyTable:
    """Mean latencies of the mobile classifiers, of systems whose name has `board` and `runtime`; a column a round."""
    columns: dict[str, dict[str, float]] = {}
    for row in _rows(folder / MLPERF):
        if row["division"] == "open" and board in row["system"] and runtime in row["system"]:
            columns.setdefault(f"{row['round']} {row['system']}", {})[row["model"]] = float(row["mean_ms"])
    whole = {name: column for name, column in columns.items() if len(column) >= _FEW}
    if not whole:
        raise InputError(f"no system with {board!r} and {runtime!r}", where=str(folder / MLPERF))
    shared = set.intersection(*(set(column) for column in whole.values()))
    kept = {name: {m: v for m, v in column.items() if m in shared} for name, column in whole.items()}
    return LatencyTable.of(kept, dict.fromkeys(kept, board))


def formats_of(models: tuple[str, ...]) -> dict[str, str]:
    """The number format that a model's name tells."""
    return {model: "int8" if _is_int8(model) else "fp32" for model in models}


def _is_int8(model: str) -> bool:
    return "int8" in model or ("quantized" in model and "non-quantized" not in model)


def _column(row: dict[str, str], section: int) -> str:
    return f"{row['device']} | {row['threads']} | {row['powersave']} | {section}"


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise InputError("no such table", where=str(path), way_out="python benchmarks/fetch_latency_data.py --out DIR")
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
