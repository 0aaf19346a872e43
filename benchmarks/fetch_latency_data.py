"""Rebuilds the two tables of public measurements that `latency_transfer.py` reads.

    python benchmarks/fetch_latency_data.py --out DIR                       # downloads both sources, with time-outs
    python benchmarks/fetch_latency_data.py --out DIR --ncnn README.md --mlperf FOLDER

`--ncnn` is benchmark/README.md of Tencent/ncnn (BSD-3). `--mlperf` is a folder that holds clones of MLCommons'
inference_results_v0.7, _v1.0 and _v2.0 (Apache-2.0) under these names; only their single-stream summaries are read. The
sources go on changing: ncnn's page grows, so a later table has more boards than the committed figures were made from.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from latency.mlperf_logs import FIELDS as MLPERF_FIELDS
from latency.mlperf_logs import results
from latency.ncnn_page import FIELDS as NCNN_FIELDS
from latency.ncnn_page import measurements
from latency.tables import MLPERF, NCNN

ROUNDS = ("v0.7", "v1.0", "v2.0")
PAGE = "https://raw.githubusercontent.com/Tencent/ncnn/master/benchmark/README.md"
CLONE = "https://github.com/mlcommons/inference_results_{}.git"
SUMMARIES = "/*/*/results/*/*/*/performance/run_1/mlperf_log_summary.txt"
MOST_BYTES = 8_000_000  # of ncnn's page, which is half a megabyte


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ncnn", type=Path, help="the page, downloaded before")
    parser.add_argument("--mlperf", type=Path, help="folder with the clones, made before")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for each download")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        page = options.ncnn.read_text(encoding="utf-8") if options.ncnn else download(PAGE, options.timeout)
        written = write(options.out / NCNN, NCNN_FIELDS, measurements(page))
        print(f"{NCNN}: {written} rows")
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.mlperf or clones(Path(temporary), options.timeout)
            written = write(
                options.out / MLPERF, MLPERF_FIELDS, (row for each in ROUNDS for row in _round(folder, each))
            )
        print(f"{MLPERF}: {written} rows")
    except (OSError, subprocess.SubprocessError) as error:
        print(f"not to be had: {error}\nFetch it elsewhere and give --ncnn FILE --mlperf FOLDER.", file=sys.stderr)
        return 1
    return 0


def write(path: Path, fields: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """The table as CSV; how many rows it has."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(fields)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def download(address: str, timeout: float) -> str:
    """A page of at most `MOST_BYTES`. Raises OSError when it cannot be had or is larger."""
    with urllib.request.urlopen(address, timeout=timeout) as answer:
        body: bytes = answer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise OSError(f"{address} has more than {MOST_BYTES} bytes")
    return body.decode("utf-8")


def clones(folder: Path, timeout: float) -> Path:
    """The rounds' repositories with their summaries alone: no history, no other files."""
    for name in ROUNDS:
        target = str(folder / f"inference_results_{name}")
        for command in (
            ["clone", "--depth", "1", "--filter=blob:none", "--no-checkout", CLONE.format(name), target],
            ["-C", target, "sparse-checkout", "set", "--no-cone", SUMMARIES],
            ["-C", target, "checkout"],
        ):
            subprocess.run(["git", *command], check=True, timeout=timeout, capture_output=True)
    return folder


def _round(folder: Path, name: str) -> Iterable[Sequence[object]]:
    root = folder / f"inference_results_{name}"
    if not root.is_dir():
        raise OSError(f"no folder {root}")
    return results(root, name)


if __name__ == "__main__":
    raise SystemExit(main())
