"""The runner's command line: reads the jobs, runs one task, and writes events to stdout, one JSON object a line."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

__all__ = ["main"]

NAMES = ("check", "load", "rounds", "energy", "count", "visits", "decode")
NEEDS = ("numpy", "onnxruntime")


def main(arguments: list[str]) -> int:
    """Run one task. The exit status: 0 done, 1 a package is missing, 2 wrongly called."""
    if len(arguments) != 2 or arguments[0] not in NAMES:
        sys.stderr.write(f"usage: python3 runner {'|'.join(NAMES)} FILE\n")
        return 2
    with open(arguments[1]) as file:
        document = json.load(file)
    document = {"jobs": document} if isinstance(document, list) else document
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # its threads disturb what is timed, and nobody asked for it
    for package in NEEDS:
        try:
            importlib.import_module(package)
        except ImportError as error:
            _emit("missing", package=package, reason=str(error))
            return 1
    tasks = importlib.import_module(".tasks", __package__).TASKS
    jobs = {str(job.get("id", index)): job for index, job in enumerate(document["jobs"])}
    tasks[arguments[0]](jobs, document, os.path.dirname(os.path.abspath(arguments[1])), _emit)
    _emit("done")
    return 0


def _emit(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps(dict(fields, event=event)) + "\n")
    sys.stdout.flush()
