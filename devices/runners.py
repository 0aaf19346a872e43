"""What is pushed onto a device to run models there: how it gets there, how it is started, and what it is told.

`PYTHON` is the folder `runner/`, which needs Python, NumPy and onnxruntime there. `tvm_runner.py` has another.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compressor.devices.device import Description, Device

__all__ = ["PYTHON", "RUNNER", "Runner", "python_runner"]

RUNNER = Path(__file__).resolve().parent / "runner"


@dataclass(frozen=True)
class Runner:
    """A program that speaks the events listed in `runner/__init__.py`.

    `put` makes its folder here, which is pushed under `name`; `command` starts it, given that folder's place there;
    `document` is what it reads, of the jobs and settings; `needs` is what a device has to have, as one is told of a
    device where it ended badly. `digest` changes with its code: times of another one are not gone on with. `fits`
    raises DeviceError for a device that it is not made for, and may give one that is.
    """

    name: str
    put: Callable[[Path], object]
    command: Callable[[Device, str], list[str]]
    document: Callable[[Mapping[str, Any]], str]
    digest: Callable[[], str]
    needs: Callable[[Device], str]
    fits: Callable[[Device, Description], Runner | None] = lambda device, description: None


def python_runner(folder: Path = RUNNER) -> Runner:
    """The runner in Python, of this folder."""
    return Runner(
        "runner", partial(_copy, folder), lambda device, there: [*device.python, there], json.dumps,
        partial(_digest, folder),
        lambda device: f"It needs Python 3.8 or newer, started there as {' '.join(device.python)!r}.",
    )  # fmt: skip


def _copy(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))


def _digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()


PYTHON = python_runner()
