"""What making an artifact takes: seconds, CPU seconds of this process and its children, joules.

    E_make = ∫ P dt                      the machine's sensor (RAPL, INA3221, PMIC), sampled from beginning to end
    E_make = CPU seconds × watts a core  where no sensor can be read: an estimate, and labelled as one

A stage that is taken from the cache costs what it took when it was made, and a stage that was interrupted what its
earlier attempts took, as far as they could write it down: once every few seconds, and when Ctrl-C ends them. What a GPU
draws, and processes that `torchrun` started beside this one, are not counted.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compressor.devices.energy import Making
from compressor.devices.runner.power import Sensor, find_sensor
from compressor.targets.power import core_power
from compressor.targets.target import Figure

__all__ = ["Ledger", "Spent"]

TICK, WRITE = 1.0, 5.0  # seconds between readings of the sensor; between notes of what a stage has taken so far


@dataclass(frozen=True)
class Spent:
    """Wall seconds, CPU seconds and joules; `measured` where all of the joules were."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    joules: float = 0.0
    measured: bool = True

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds, self.joules + other.joules,
            self.measured and other.measured,
        )  # fmt: skip

    def since(self, earlier: Spent) -> Spent:
        """What came after `earlier`; its CPU seconds' share where the sensor was lost in between."""
        cpu = self.cpu_seconds - earlier.cpu_seconds
        same = self.measured == earlier.measured
        joules = self.joules - earlier.joules if same else self.joules * cpu / max(self.cpu_seconds, cpu, 1e-9)
        return Spent(self.seconds - earlier.seconds, cpu, max(joules, 0.0), self.measured)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Spent:
        """Raises ValueError for what is none."""
        if not isinstance(value, Mapping) or not isinstance(value.get("measured"), bool):
            raise ValueError("not what a stage took")
        numbers = [value.get(name) for name in ("seconds", "cpu_seconds", "joules")]
        seconds, cpu_seconds, joules = map(_number, numbers)
        return cls(seconds, cpu_seconds, joules, value["measured"])


class Ledger:
    """Counts while its `with` block runs. `sensor` and `core` are this machine's unless given.

    `stage` surrounds a stage that is made, `take` notes one that an earlier run has made.
    """

    def __init__(self, sensor: Sensor | None = None, core: Figure | None = None) -> None:
        self.sensor, self.core = sensor or find_sensor(), core or core_power()
        self.earlier = Spent()
        self._known: set[str] = set()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._last: tuple[float, float] | None = None  # when, and what the sensor said
        self._joules: float | None = 0.0 if self.sensor is not None else None
        self._stage = Spent()
        self._note: tuple[Path, Spent, Spent] | None = None  # file of the stage, its earlier attempts, when it began
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Ledger:
        self._begin_seconds, self._begin_cpu = time.perf_counter(), _cpu_seconds()
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def so_far(self) -> Spent:
        """What this run has taken."""
        self._read()
        cpu = _cpu_seconds() - self._begin_cpu
        seconds = time.perf_counter() - self._begin_seconds
        if self._joules is None:
            return Spent(seconds, cpu, cpu * self.core.value, measured=False)
        return Spent(seconds, cpu, self._joules)

    def take(self, key: str, spent: Spent) -> None:
        """A stage that an earlier run has made, by its name in the cache; one of this run counts already."""
        if key not in self._known:
            self._known.add(key)
            self.earlier += spent

    @contextlib.contextmanager
    def stage(self, key: str, note: Path | None) -> Iterator[None]:
        """A stage that is being made; `note` is where attempts that do not end leave what they took."""
        before = _noted(note)
        self.take(key, before)
        begun = self.so_far()
        with self._lock:
            self._note = None if note is None else (note, before, begun)
        try:
            yield
        except KeyboardInterrupt:  # the same command goes on
            self._write()
            raise
        finally:
            with self._lock:
                self._note = None
            self._stage = before + self.so_far().since(begun)

    @property
    def last_stage(self) -> Spent:
        """What the last stage took, its earlier attempts included."""
        return self._stage

    def making(self) -> Making:
        """All of it, as the report and the manifest say it."""
        whole = self.so_far() + self.earlier
        return Making(
            whole.seconds, whole.cpu_seconds, whole.joules, whole.measured, self._source(whole.measured),
            self.earlier.cpu_seconds,
        )  # fmt: skip

    def _source(self, measured: bool) -> str:
        gpu = "; a GPU's share is not counted" if _uses_gpu() else ""
        if measured and self.sensor is not None:
            return f"measured: {self.sensor.name}, all that the machine did meanwhile{gpu}"
        watts = f"CPU seconds × {self.core.value:.3g} W a core ({self.core.source})"
        return f"estimated: {watts if self._joules is None else f'partly {watts}'}{gpu}"

    def _tick(self) -> None:
        next_note = time.monotonic() + WRITE
        while not self._stop.wait(TICK):
            self._read()
            if time.monotonic() >= next_note:
                self._write()
                next_note = time.monotonic() + WRITE

    def _read(self) -> None:
        """Adds what the sensor saw since it was read last; one that stops answering leaves the estimate."""
        with self._lock:
            if self.sensor is None or self._joules is None:
                return
            now, value = time.perf_counter(), self.sensor.read()
            if value is None:
                self._joules = None
                return
            if self._last is not None:
                then, before = self._last
                self._joules += value - before if self.sensor.counts else (value + before) / 2 * (now - then)
            self._last = now, value

    def _write(self) -> None:
        """Leaves what the stage has taken so far; where that cannot be written, a later attempt will not know."""
        with self._lock:
            note = self._note
        if note is None:
            return
        path, before, begun = note
        spent = before + self.so_far().since(begun)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(spent.to_json()), encoding="utf-8")
            part.replace(path)


def _noted(note: Path | None) -> Spent:
    """What earlier attempts left, or nothing where that is not known."""
    if note is not None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return Spent.from_json(json.loads(note.read_text(encoding="utf-8")))
    return Spent()


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("not what a stage took")
    return float(value)


def _cpu_seconds() -> float:
    """Of this process, and of its children that have ended."""
    ended = os.times()  # counts in hundredths of a second; this process's own clock is finer
    return time.process_time() + ended.children_user + ended.children_system


def _uses_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
