"""What was predicted and then measured on a target, kept on this machine: the model's own past error.

    factor = exp( n / (n + 4) · median of ln(measured / predicted) )        over the last 32 programs of a target

Predicted times are multiplied by it: few measurements move them a little, many by their median. A program counts once,
with its last measurement. The file is a list of JSON lines in the user's configuration folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from compressor.devices.registry import config_file

__all__ = ["Outcome", "Past", "history_file", "past", "record"]

_LAST = 32
_TRUST = 4  # measurements that weigh as much as the model
_SHORTEST, _LONGEST = 1e-9, 1e12  # milliseconds
_MOST = 4.0  # a ratio beyond which a measurement says more about its machine than about the model


@dataclass(frozen=True)
class Outcome:
    """One prediction and what was measured. `program` stands for its content; `raw_ms` is without correction, `device`
    the URL or saved name of the one that it was measured on, "" for this machine."""

    target: str
    cpu: str
    threads: int
    program: str
    source: str
    raw_ms: float
    predicted_ms: float
    measured_ms: float
    date: str
    device: str = ""


@dataclass(frozen=True)
class Past:
    """The errors predicted / measured − 1 that were made, oldest first, and the factor that follows."""

    errors: tuple[float, ...] = ()
    factor: float = 1.0

    def text(self) -> str:
        """In a sentence, "" without a past."""
        if not self.errors:
            return ""
        middle, worst = median(map(abs, self.errors)), max(self.errors, key=abs)
        if len(self.errors) == 1:
            return f"of its last prediction here: error {worst:+.1%}"
        return f"of its last {len(self.errors)} predictions here: median error {middle:.1%}, worst {worst:+.1%}"


def history_file() -> Path:
    """Where it is kept."""
    return config_file().with_name("latency-history.jsonl")


def record(outcome: Outcome) -> bool:
    """Keep one; whether it was sensible and the disk took it: a full or read-only one costs only the memory of it."""
    if not _sensible(outcome):
        return False
    file = history_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(outcome)) + "\n")
    except OSError:
        return False
    return True


def past(target: str, cpu: str, source: str) -> Past:
    """What was predicted from `source` for a target and measured on such a processor."""
    known: dict[tuple[str, int], Outcome] = {}
    for outcome in _read(history_file()):
        if (outcome.target, outcome.cpu, outcome.source) == (target, cpu, source):
            key = outcome.program, outcome.threads
            known.pop(key, None)
            known[key] = outcome
    last = list(known.values())[-_LAST:]
    logarithms = [math.log(each.measured_ms / each.raw_ms) for each in last]
    within = [value for value in logarithms if abs(value) <= math.log(_MOST)]
    count = len(within)
    factor = math.exp(count / (count + _TRUST) * median(within)) if within else 1.0
    return Past(tuple(each.predicted_ms / each.measured_ms - 1 for each in last), factor)


def _read(file: Path) -> Iterator[Outcome]:
    """Whole and sensible lines only: the rest says nothing."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        if _sensible(outcome):
            yield outcome


def _sensible(outcome: Outcome) -> bool:
    """Bundles, which may come from anywhere, carry predictions: what no model would say is not kept and not read."""
    words = (outcome.target, outcome.cpu, outcome.program, outcome.source, outcome.date, outcome.device)
    times = (outcome.raw_ms, outcome.predicted_ms, outcome.measured_ms)
    return (
        all(isinstance(word, str) for word in words)
        and type(outcome.threads) is int
        and all(type(time) in (int, float) and _SHORTEST < time < _LONGEST for time in times)
    )
