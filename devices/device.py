"""What can be done with a device: push files to it, run a program there, pull files back, and describe it.

Every transport (`devices/transports/`) implements this and nothing more, so that whatever measures, verifies or tunes
works on all of them alike. Programs are argument lists, never shell lines: a transport that has to go through a
shell quotes each argument itself.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Description", "Device", "Finished"]


@dataclass(frozen=True)
class Finished:
    """A program that has ended: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Description:
    """What a device is. `memory` in bytes, 0 where it does not tell; `runtimes` are versions by name.

    `timed` is false where time means nothing (emulation): such a device verifies, and is never timed. `counted` says
    whether it counts instructions, for a program whose environment names a file for them (`runner/counting.py`).
    `caches` are the bytes of a core's, from the nearest on, those of instructions left out.
    """

    system: str  # "Linux", "Darwin", "Android"
    arch: str  # "x86_64", "aarch64"
    cpu: str
    cores: int
    memory: int
    python: str  # its version, "" where there is none
    runtimes: Mapping[str, str] = field(default_factory=dict)  # "onnxruntime": "1.31.1"
    timed: bool = True
    counted: bool = False
    caches: tuple[int, ...] = ()


class Device(ABC):
    """One board. Not thread-safe; closed by leaving its `with` block.

    Every method raises DeviceError where the device cannot be reached or refuses, DeviceLostError where it stops
    answering, or `timeout` (seconds) passes.
    """

    url: str
    python: Sequence[str] = ("python3",)  # how its Python is started

    @abstractmethod
    def push(self, source: Path, destination: str, *, timeout: float = 600.0) -> None:
        """Copy a file or a folder to the path `destination` there; folders above it exist already."""

    @abstractmethod
    def pull(self, source: str, destination: Path, *, timeout: float = 600.0) -> None:
        """Copy a file from there to the path `destination` here."""

    @abstractmethod
    def run(
        self,
        program: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run a program there. `on_line` is given each line of its stdout as it comes; its status is not judged."""

    @abstractmethod
    def describe(self) -> Description:
        """What it is, asked of the device itself."""

    @abstractmethod
    def folder(self) -> contextlib.AbstractContextManager[str]:
        """A new folder of a unique name there, removed with what is in it at the end, also after an error."""

    @abstractmethod
    def discard(self, folder: str) -> None:
        """Remove a folder that `folder` made and that a lost connection left there; one that is gone is no error."""

    def close(self) -> None:
        """Let go of connections; a device without any has nothing to do."""
        return

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
