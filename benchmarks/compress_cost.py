"""What `compress` itself costs: wall time on MobileNetV2-224 without data, and peak memory on a 100M-parameter net.

    python benchmarks/compress_cost.py [--runs 3] [--target raspberry-pi-5]

Each run is a fresh process without the cache; peak memory is the operating system's own account of that process.
The memory baseline is the same command on a one-layer model. Goals: under 15 s on two cores; peak memory above the
baseline below three times the model's bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.zoo import ARCHITECTURES
from compressor.versions import versions

RESULTS = Path(__file__).parent / "results" / "compress_cost.json"
GOAL_SECONDS, GOAL_RATIO = 15.0, 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--target", default="raspberry-pi-5")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.target, options.runs)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0


def measure(folder: Path, target: str, runs: int) -> dict[str, object]:
    """Interleaved runs of the three models; medians."""
    mobilenet = next(a for a in ARCHITECTURES if a.name == "mobilenet-v2-224").build(0)
    models = {
        "one_layer": (nn.Linear(8, 8), (torch.randn(2, 8),)),
        "mobilenet_v2_224": (mobilenet.module, tuple(torch.cat([x, x]) for x in mobilenet.args)),
        "linear_100m": (nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(6))), (torch.randn(2, 4096),)),
    }
    for name, (module, args) in models.items():
        exported = torch.export.export(module.eval(), args, dynamic_shapes=tuple({0: Dim.AUTO} for _ in args))
        torch.export.save(exported, folder / f"{name}.pt2")
    seen: dict[str, list[tuple[float, float, int]]] = {name: [] for name in models}
    for _ in range(runs):
        for name in models:
            seen[name].append(run(folder, name, target))
    rows = {
        name: {
            "wall_s": round(statistics.median(wall for wall, _, _ in each), 2),
            "cpu_s": round(statistics.median(cpu for _, cpu, _ in each), 2),
            "peak_mb": round(statistics.median(peak for _, _, peak in each) / 1e6, 1),
        }
        for name, each in seen.items()
    }
    weights = sum(p.numel() * p.element_size() for p in models["linear_100m"][0].parameters())
    ratio = (rows["linear_100m"]["peak_mb"] - rows["one_layer"]["peak_mb"]) * 1e6 / weights
    seconds = rows["mobilenet_v2_224"]["wall_s"]
    return {
        "target": target,
        "runs": runs,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "rows": rows,
        "mobilenet_v2_224_seconds": {"goal": GOAL_SECONDS, "measured": seconds, "met": seconds < GOAL_SECONDS},
        "memory_over_model_bytes": {"goal": GOAL_RATIO, "measured": round(ratio, 2), "met": ratio < GOAL_RATIO},
        "versions": versions(),
    }


def run(folder: Path, name: str, target: str) -> tuple[float, float, int]:
    """Wall seconds, processor seconds and peak bytes of one run (children included in the processor time)."""
    command = [sys.executable, "-m", "compressor", str(folder / f"{name}.pt2"), "--target", target]
    command += ["--out", str(folder / "out"), "--force", "--no-cache", "-q"]
    # A process started from this one would inherit its peak, so a small one stands between.
    done = subprocess.run([sys.executable, "-c", _METER, *command], capture_output=True, text=True, check=True)
    wall, cpu, peak = done.stdout.split()
    return float(wall), float(cpu), int(peak)


_METER = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wall = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
"""


if __name__ == "__main__":
    sys.exit(main())
