"""All benchmarks of pruning and recovery, one after another, within a budget; what is finished is not run again.

    python benchmarks/suite.py [--budget 3h]

Each script gets what is left of the time. Prints what each took; the exit status says whether all goals are met.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from compressor.passes.recover.budget import parse_budget

SCRIPTS = (
    ("sparsity.py",), ("pruning.py",), ("works_when.py",), ("curves.py",), ("scores.py",),
    ("generality.py", "--jobs", "2"),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="3h")
    limit, started = parse_budget(parser.parse_args().budget).amount, time.monotonic()
    lines, failed = [], False
    for script, *more in SCRIPTS:
        left, began = limit - (time.monotonic() - started), time.monotonic()
        if left < 1:
            lines.append(f"{script:16} no time left")
            continue
        command = [sys.executable, str(Path(__file__).parent / script), "--budget", f"{left:.0f}s", *more]
        code = subprocess.run(command, check=False).returncode
        failed |= code != 0
        lines.append(f"{script:16} {time.monotonic() - began:6.0f} s  {'ended with ' + str(code) if code else 'met'}")
    print("\n" + "\n".join(lines))
    print(f"the suite took {time.monotonic() - started:.0f} s of {limit:.0f}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
