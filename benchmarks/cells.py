"""The finished cells of a benchmark: kept in `results/NAME.json`, written after each, so that a later run goes on.

A cell is a table of figures with the seconds it took. Nothing new is begun once the budget is spent.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.passes.recover.budget import parse_budget
from compressor.versions import versions

__all__ = ["Cell", "Cells", "arguments"]

Cell = dict[str, Any]
FOLDER = Path(__file__).parent / "results"


def arguments(description: str, names: object, budget: str) -> argparse.ArgumentParser:
    """The options that every benchmark has: which of its `names`, and how long."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names), metavar="NAME")  # type: ignore[call-overload]
    parser.add_argument("--budget", default=budget, help="begin nothing new after so long")
    return parser


class Cells(Mapping[str, Cell]):
    """What is there, by key; `measure` adds to it."""

    def __init__(self, name: str, budget: str = "10h") -> None:
        self.path = FOLDER / f"{name}.json"
        self.began, self.limit = time.monotonic(), parse_budget(budget).amount
        self._cells: dict[str, Cell] = json.loads(self.path.read_text())["cells"] if self.path.exists() else {}

    def __getitem__(self, key: str) -> Cell:
        return self._cells[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() - self.began > self.limit

    def measure(self, key: str, figures: Callable[[], Mapping[str, Any]], again: bool = False) -> bool:
        """Run what is not there yet (or `again`), and print and keep its figures; whether it ran."""
        if (key in self and not again) or self.over:
            return False
        began = time.monotonic()
        found = {name: round(v, 6) if isinstance(v, float) else v for name, v in figures().items()}
        self._cells[key] = {"seconds": round(time.monotonic() - began, 1), **found}
        text = json.dumps({"versions": versions(), "cells": self._cells}, indent=1) + "\n"
        part = self.path.with_suffix(f".{os.getpid()}")
        part.write_text(text)
        part.replace(self.path)
        shown = "  ".join(f"{name} {v:.4f}" if isinstance(v, float) else f"{name} {v}" for name, v in found.items())
        print(f"{key:44} {shown}  {self[key]['seconds']:.0f} s", flush=True)
        return True

    def took(self) -> str:
        """How long this run was, and all cells together."""
        together = sum(cell.get("seconds", 0.0) for cell in self.values())
        return f"took {time.monotonic() - self.began:.0f} s; all cells together {together:.0f} s"
