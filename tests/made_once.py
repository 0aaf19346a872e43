"""What is dear to make, made by the first worker that asks, for all of them: folders under SHARED_BY_WORKERS."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from compressor.locks import held

__all__ = ["lend_runners", "made_once"]


def made_once(name: str, copy: Path, make: Callable[[Path], object]) -> Path:
    """The folder `copy`, of which `make` was called with a path to make, once in all processes of this run.

    Each worker has a copy of its own: what one does to it the others do not see.
    """
    kept = _shared() / "made" / name / copy.name
    with held(kept.parent.with_suffix(".lock")):
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as folder:  # a failure leaves it to the next to fail
                make(Path(folder) / copy.name)
                os.replace(Path(folder) / copy.name, kept)
    shutil.copytree(kept, copy)
    return copy


def lend_runners(cache: Path) -> Path:
    """A cache folder, empty but for the compiled runners (`devices/tvm_runner.py`) of all processes of this run."""
    runners = _shared() / "runners"
    runners.mkdir(exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "runners").symlink_to(runners)
    return cache


def _shared() -> Path:
    return Path(os.environ["SHARED_BY_WORKERS"])
