"""All benchmarks of pruning and recovery within a budget, one a core; what is finished is not run again.

    python benchmarks/suite.py [--budget 3h] [--jobs 2]

Each script gets what is left of the time, and its share of the cores. What is timed is timed interleaved with what it
is compared with, so that a neighbour slows both. Prints what each took; the exit status says whether all goals are met.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compressor.passes.recover.budget import parse_budget

SCRIPTS = (  # the longest first
    ("pruning.py",), ("works_when.py",), ("scores.py",), ("generality.py", "--until", "depgraph"), ("curves.py",),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="3h")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    limit, started = parse_budget(options.budget).amount, time.monotonic()
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))

    def run(command: tuple[str, ...]) -> tuple[str, bool]:
        script, *rest = command
        left, began = limit - (time.monotonic() - started), time.monotonic()
        if left < 1:
            return f"{script:16} no time left", False
        words = [sys.executable, str(Path(__file__).parent / script), *rest, "--budget", f"{left:.0f}s"]
        code = subprocess.run(words, check=False, env={**os.environ, "OMP_NUM_THREADS": threads}).returncode
        return (
            f"{script:16} {time.monotonic() - began:6.0f} s  {'ended with ' + str(code) if code else 'met'}",
            code == 0,
        )

    with ThreadPoolExecutor(options.jobs) as pool:
        lines, met = zip(*pool.map(run, SCRIPTS), strict=True)
    print("\n" + "\n".join(lines))
    print(f"the suite took {time.monotonic() - started:.0f} s of {limit:.0f}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
