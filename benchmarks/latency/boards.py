"""Descriptions of the boards on ncnn's benchmark page, from `boards.toml`: the cores that a run keeps busy.

ncnn's power-save mode 0 runs on all cores, 1 on the little, 2 on the big ones: those whose clock is at least midway
between the slowest and the fastest. Threads are taken to sit on the fastest of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.devices.latency.boards.specifications import DataSheet

__all__ = ["described"]

_BOARDS = Path(__file__).parent / "boards.toml"
_X86 = ("zen", "airmont", "yonah")


def described(board: str, threads: int, powersave: int, path: Path = _BOARDS) -> DataSheet | None:
    """The description of a run, or None for a machine of which the file says nothing."""
    data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    entry = next((each for each in data["boards"] if board.startswith(each["name"])), None)
    if entry is None:
        return None
    clusters = _allowed(entry["clusters"], powersave)
    used = [(kind, clock) for count, kind, clock in clusters for _ in range(count)][:threads]
    kinds: Mapping[str, Any] = data["cores"]
    kind, clock = used[0]
    return DataSheet(
        rate=sum(kinds[each]["macs"] * ghz for each, ghz in used),
        cores=len(used),
        clock=clock,
        macs=kinds[kind]["macs"],
        bandwidth=entry["bandwidth"],
        cache=entry["cache"],
        traits=_traits(kind, kinds[kind]),
    )


def _allowed(clusters: list[Any], powersave: int) -> list[Any]:
    clocks = [clock for _, _, clock in clusters]
    if powersave == 1:
        return clusters[-1:]
    if powersave == 2:
        return [each for each in clusters if each[2] >= (max(clocks) + min(clocks)) / 2]
    return clusters


def _traits(kind: str, core: Mapping[str, Any]) -> frozenset[str]:
    words = {"dot": "dot product", "fp16": "half precision", "in_order": "in order"}
    family = "x86" if kind in _X86 else "arm" if kind.startswith(("cortex", "cyclone", "denver", "ftc")) else "other"
    return frozenset({word for key, word in words.items() if core[key]} | {family})
