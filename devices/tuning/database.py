"""What tuning has measured, one JSON object a line, in one file a processor: read whole, appended to, never rewritten.

    {"kind": "trial", "task": key, "trace": […] or null, "seconds": [1.2e-5, …] or null, "spent": 0.4}
    {"kind": "default", "task": key, "default": key, "seconds": 2e-5}
    {"kind": "verdict", "task": key, "default": key, "among": […], "trace": […] or null, "ratio": 0.6, "reason": ""}

Several processes may append to it at once: each takes the file's lock and writes whole lines. A line that a kill tore
is passed over, and ends before the next one begins; so is any that makes no sense. Where the disk refuses, what is
found lives as long as the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

__all__ = ["Database", "Default", "Trial", "Verdict", "digest"]


@dataclass(frozen=True)
class Trial:
    """A schedule that was tried: its trace, seconds a run (none where it failed), and what trying it took."""

    trace: Any
    seconds: tuple[float, ...] | None
    spent: float = 0.0

    @property
    def least(self) -> float:
        """Seconds a run, where nothing else disturbed it; infinite where it failed."""
        return min(self.seconds, default=math.inf) if self.seconds else math.inf


@dataclass(frozen=True)
class Default:
    """Seconds that a task takes in the default schedule of the key `default`."""

    default: str
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """Which of the schedules with the digests `among` was right and faster than the default one of the key `default`:
    its trace and the ratio of their times; none, with the reason, where the default stays."""

    default: str
    among: tuple[str, ...]
    trace: Any = None
    ratio: float = 1.0
    reason: str = ""


@dataclass
class Database:
    """The file's content by task. With `path=None` nothing is read or kept."""

    path: Path | None
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    defaults: dict[str, list[Default]] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in _read(self.path):
            self._take(entry)

    def add(self, task: str, *records: Trial | Default | Verdict) -> None:
        """Keep records of a task; they are on disk when this returns."""
        entries = [{"kind": type(each).__name__.lower(), "task": task, **asdict(each)} for each in records]
        for entry in entries:
            self._take(json.loads(json.dumps(entry)))
        if self.path is not None and not _append(self.path, entries):
            self.path = None

    def default(self, task: str, default: str) -> float | None:
        """What the default schedule of that key takes, where it was timed."""
        found = [each.seconds for each in self.defaults.get(task, []) if each.default == default]
        return found[-1] if found else None

    def verdict(self, task: str, default: str, among: Sequence[str]) -> Verdict | None:
        """What was said about these schedules and that default, where it was."""
        said = [v for v in self.verdicts.get(task, []) if (v.default, v.among) == (default, tuple(among))]
        return said[-1] if said else None

    def _take(self, entry: Mapping[str, Any]) -> None:
        with contextlib.suppress(KeyError, TypeError, ValueError):  # no line of ours
            task, kind = str(entry["task"]), entry["kind"]
            if kind == "trial":
                trial = _trial(entry)
                self.trials.setdefault(task, []).append(trial)
            elif kind == "default":
                found = Default(str(entry["default"]), _positive(entry["seconds"]))
                self.defaults.setdefault(task, []).append(found)
            elif kind == "verdict":
                verdict = _verdict(entry)
                self.verdicts.setdefault(task, []).append(verdict)


def digest(trace: Any) -> str:
    """Short, and the same for the same trace."""
    return hashlib.sha256(json.dumps(trace, sort_keys=True).encode()).hexdigest()[:16]


def _trial(entry: Mapping[str, Any]) -> Trial:
    seconds = entry["seconds"]
    if not isinstance(entry["trace"], list | None):
        raise TypeError
    times = None if seconds is None else tuple(_positive(each) for each in seconds)
    return Trial(entry["trace"], times or None, max(0.0, float(entry["spent"])))


def _verdict(entry: Mapping[str, Any]) -> Verdict:
    if not isinstance(entry["trace"], list | None):
        raise TypeError
    among = tuple(str(each) for each in entry["among"])
    return Verdict(str(entry["default"]), among, entry["trace"], _positive(entry["ratio"]), str(entry["reason"]))


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def _read(path: Path | None) -> Iterator[Mapping[str, Any]]:
    if path is None or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):  # torn by a kill
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _append(path: Path, entries: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the disk took them."""
    text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file, _locked(file):
            if not _ends_whole(file):
                text = b"\n" + text
            file.write(text)
            file.flush()
    except OSError:
        return False
    return True


def _ends_whole(file: IO[bytes]) -> bool:
    end = file.seek(0, 2)
    if end == 0:
        return True
    file.seek(end - 1)
    return file.read(1) == b"\n"


@contextlib.contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    """The file's lock, which goes with the process that has it, too; none where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
