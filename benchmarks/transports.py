"""`compress bench` by every transport that this machine has: what each shows of one bundle, beside local.

    python benchmarks/transports.py [--rounds 3] [--time 1s]

The board is this machine itself, by ssh (a real sshd), adb (the real client, a stand-in behind it), TVM's RPC, RPC
through ssh, and as emulated Arm (`compress devices setup qemu`); all on loopback. A round asks all of them in turn;
figures are medians of the rounds, the ratio is that of p50 to local in the same round. Emulation has no times. What
cannot be had here is left out with the reason, and a golden vector that is not met ends it all. Goals: the golden error
is the very same by each transport that is not emulated, and no time is told of what is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from loopback_boards import TRANSPORTS, LoopbackBoard, loopback_board

from compressor.versions import versions

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"
RESULTS = Path(__file__).parent / "results" / "transports.json"
FIGURES = ("p50", "load_ms", "first_ms", "peak_memory_bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", default="1s")
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bundle = made(Path(folder))
        boards, absent = reached(stack)
        for _ in range(options.rounds):
            for name, board in boards.items():
                if board.timed or name not in rounds:  # emulation repeats exactly
                    rounds.setdefault(name, []).append(benched(bundle, board, options.time))
                    print(f"{name}: {rounds[name][-1]}", file=sys.stderr, flush=True)
            loads.append(os.getloadavg()[0])
    found = {name: row(each, rounds["local"]) for name, each in rounds.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    result = {
        "versions": versions(), "rounds": options.rounds, "time": options.time, "cores": os.cpu_count(),
        "load_average": [min(loads), max(loads)], "absent": absent, "transports": found,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    print(f"load average {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")
    for name, reason in absent.items():
        print(f"{name} is left out: {reason}")
    goals = judged(found)
    for goal, met in goals.items():
        print(f"{'met' if met else 'MISSED':7} {goal}")
    return 0 if all(goals.values()) else 1


def reached(stack: contextlib.ExitStack) -> tuple[dict[str, LoopbackBoard], dict[str, str]]:
    """The boards that there are, open as long as `stack`, and why others are not."""
    boards: dict[str, LoopbackBoard] = {}
    absent: dict[str, str] = {}
    for name in TRANSPORTS:
        try:
            boards[name] = stack.enter_context(loopback_board(name))
        except pytest.skip.Exception as error:
            absent[name] = str(error)
    return boards, absent


def made(folder: Path) -> Path:
    """The bundled example, compressed for this machine."""
    arguments = [str(DIGITS / "model.pt"), "--data", str(DIGITS / "data.npz"), "--target", "host", "-q"]
    subprocess.run([*_COMPRESS, *arguments, "--out", str(folder / "digits-host")], check=True, capture_output=True)
    return folder / "digits-host"


def benched(bundle: Path, board: LoopbackBoard, seconds: str) -> dict[str, Any]:
    """The worst golden error that the command tells, and its figures where it has any."""
    command = [*_COMPRESS, "bench", str(bundle), "--device", board.url, "--threads", "1", "--time", seconds]
    done = subprocess.run(
        [*command, "--json", "-q"], capture_output=True, text=True, check=False, env={**os.environ, **board.environment}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    found = json.loads(done.stdout)
    [errors] = found["errors"].values()
    figures = {name: found["figures"][0][name] for name in FIGURES} if found["timed"] else {}
    return {"error": max(errors.values()), **figures}


def row(rounds: Sequence[Mapping[str, Any]], local: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of the rounds; the ratio of p50 to local with its least and most."""
    found = {"error": max(each["error"] for each in rounds)}
    if "p50" not in rounds[0]:
        return found
    ratios = [each["p50"] / beside["p50"] for each, beside in zip(rounds, local, strict=True)]
    medians = {name: statistics.median(each[name] for each in rounds) for name in FIGURES}
    spread = {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
    return {**found, **{name: round(value, 4) for name, value in {**medians, **spread}.items()}}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| transport | golden error | p50 | load | first run | peak memory | p50 / local |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        cells = [name, f"{each['error']:.2e}"]
        if "p50" in each:
            cells += [f"{each[key]:.3f} ms" for key in ("p50", "load_ms", "first_ms")]
            cells += [f"{each['peak_memory_bytes'] / 1e6:.1f} MB"]
            cells += [f"{each['ratio']:.2f} [{each['ratio_low']:.2f}, {each['ratio_high']:.2f}]"]
        else:
            cells += ["never timed"] + ["–"] * 4
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def judged(found: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Each goal, and whether it is met."""
    timed = {name: each["error"] for name, each in found.items() if "p50" in each}
    return {
        f"the golden error is the very same by {len(timed)} transports": len(set(timed.values())) == 1,
        "no time is told of what is emulated": not any("p50" in found[name] for name in found if "qemu" in name),
    }


_COMPRESS = (sys.executable, "-m", "compressor")

if __name__ == "__main__":
    raise SystemExit(main())
