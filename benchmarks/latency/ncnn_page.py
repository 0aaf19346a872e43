"""Reads ncnn's benchmark page: CPU rows by board, threads and power-save mode.

A board's name is the last line before a fenced block; inside, `key = value` lines precede each run's rows
`MODEL  min = A  max = B  avg = C`. Runs on a GPU (`gpu_device` other than −1) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["FIELDS", "measurements"]

FIELDS = ("device", "threads", "powersave", "model", "min", "max", "avg")
_FENCE = "```"
_SETTING = re.compile(r"^\s*(loop_count|num_threads|powersave|gpu_device)\s*=\s*(-?\d+)\s*$")
_ROW = re.compile(r"^\s*(\S+)\s+min =\s*([\d.]+)\s+max =\s*([\d.]+)\s+avg =\s*([\d.]+)\s*$")
_DEFAULTS = {"num_threads": "", "powersave": "0", "gpu_device": "-1"}


def measurements(page: str) -> Iterator[tuple[str, str, str, str, float, float, float]]:
    """Rows in the order of the page, as in `FIELDS`; times in milliseconds."""
    board, inside, settings = "", False, dict(_DEFAULTS)
    for line in page.splitlines():
        if line.lstrip().startswith(_FENCE):
            inside = not inside
            settings = dict(_DEFAULTS)
        elif not inside:
            board = line.strip().lstrip("#").strip() or board
        elif setting := _SETTING.match(line):
            if setting[1] == "loop_count":  # a new run says everything anew
                settings = dict(_DEFAULTS)
            settings[setting[1]] = setting[2]
        elif (row := _ROW.match(line)) and settings["gpu_device"] == "-1" and settings["num_threads"]:
            times = (float(row[2]), float(row[3]), float(row[4]))
            yield (board, settings["num_threads"], settings["powersave"], row[1], *times)
