"""The models that `latency_prepare.py` has lowered into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["prepared"]


def prepared(folder: Path, parser: argparse.ArgumentParser, pattern: str = "*.json") -> list[str]:
    """Their names, sorted. Ends the program with the way to get them where there are none."""
    names = sorted(path.stem for path in folder.glob(pattern))
    if not names:
        parser.error(f"{folder} holds no lowered models: python benchmarks/latency_prepare.py {folder} makes them")
    return names
