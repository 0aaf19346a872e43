"""Events of a run that may be cut off, kept on disk as they come: one JSON object a line.

A later run finds them again; half a line at the end, which a kill leaves, is dropped, and so is all from a damaged line
on. A journal that was not written
to for a day is not gone on with: its times are of another day's board.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.devices.events import sound

__all__ = ["FOLDER", "Journal"]

FOLDER = "folder"  # an event: `path`, where the run has its files on the device, and `process`, its own number here
MAX_AGE = 24 * 3600.0  # seconds


class Journal:
    """The events of one run by name. With `path=None`, or where the disk refuses, they live in memory only."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = list(_read(path)) if path is not None else []
        self.resumed = self.begun
        if self.events:
            self._write("".join(_line(event) for event in self.events), "w")

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on with: folders on the device are not."""
        return any(event.get("event") != FOLDER for event in self.events)

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep an event; it is on disk when this returns."""
        self.events.append(dict(event))
        self._write(_line(event), "a")

    def named(self, name: str) -> list[dict[str, Any]]:
        """All events of one name, in order."""
        return [event for event in self.events if event.get("event") == name]

    def by_id(self, name: str) -> dict[str, dict[str, Any]]:
        """The last event of one name for each job."""
        return {str(event.get("id")): event for event in self.named(name)}

    def remove(self) -> None:
        """The run has ended: nothing is left to go on with."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _write(self, text: str, mode: str) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError:
            self.path = None  # a full or read-only disk only costs the way back


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event) + "\n"


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if time.time() - path.stat().st_mtime > MAX_AGE:
            return
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict) or not sound(event):
            return
        yield event
