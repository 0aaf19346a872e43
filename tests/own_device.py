"""This machine as a device for tests: it keeps a record, and can be lost, emulated, or lack what it should have."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from compressor.devices.device import Description, Device, Finished
from compressor.errors import DeviceLostError

__all__ = ["OwnDevice", "counting", "program"]


@dataclass
class OwnDevice(Device):
    """`lost_after` so many lines of stdout it stops answering; `path` is looked through first for programs.

    `counted` says that it counts instructions; one that does is made by `counting`.
    """

    lost_after: int | None = None
    timed: bool = True
    counted: bool = False
    path: Path | None = None
    url: str = "own"
    tasks: list[str] = field(default_factory=list)
    environments: dict[str, Mapping[str, str]] = field(default_factory=dict)  # the last by task
    folders: list[Path] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    python: Sequence[str] = (sys.executable,)

    def push(self, source: Path, destination: str, *, timeout: float = 600.0) -> None:
        assert Path(destination).parent.is_dir()
        shutil.copytree(source, destination) if source.is_dir() else shutil.copyfile(source, destination)

    def pull(self, source: str, destination: Path, *, timeout: float = 600.0) -> None:
        shutil.copyfile(source, destination)

    def run(
        self,
        program: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        task = program[-2]
        self.tasks.append(task)
        self.environments[task] = environment or {}
        path = os.pathsep.join([*([str(self.path)] if self.path else []), os.environ["PATH"]])
        variables = {**os.environ, "PATH": path, **(environment or {})}
        done = subprocess.run(
            list(program), capture_output=True, text=True, timeout=timeout, env=variables, check=False
        )
        for line in done.stdout.splitlines():
            if self.lost_after is not None:
                if self.lost_after == 0:
                    raise DeviceLostError("it stopped answering", where=self.url)
                self.lost_after -= 1
            if on_line is not None:
                on_line(line)
        return Finished(done.returncode, done.stdout, done.stderr)

    def describe(self) -> Description:
        return Description("Linux", "x86_64", "test", 1, 1 << 30, "3.11", {}, self.timed, self.counted)

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            self.folders.append(Path(folder))
            yield folder

    def discard(self, folder: str) -> None:
        self.discarded.append(folder)


def program(folder: Path, name: str, script: str) -> Path:
    """A shell script on the path `folder`; the folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return folder


_COUNTER = """
import ctypes, os

class Kernel:
    begun = False
    def syscall(self, number, begins):
        if self.begun and not begins:
            with open(os.environ["COMPRESS_COUNTS"], "a") as file:
                file.write("{instructions}\\n")
        self.begun = bool(begins)

library = ctypes.CDLL
ctypes.CDLL = lambda name=None, *rest, **options: library(name, *rest, **options) if name else Kernel()
"""


def counting(folder: Path, instructions: int, monkeypatch: pytest.MonkeyPatch) -> OwnDevice:
    """One whose marks write so many instructions down, as an emulator that counts would."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_COUNTER.replace("{instructions}", str(instructions)))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return OwnDevice(timed=False, counted=True)
