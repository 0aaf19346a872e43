"""What can be asked of a board: `check` golden vectors, `load` one model alone, time `rounds`, measure `energy`; of an
emulated one, `count` instructions.

Each task writes its events as they come (their list is in the folder's `__init__.py`), so that whoever reads them has
all that was finished when the board is gone.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any, Callable

import numpy
import onnxruntime

from .answers import answered
from .conditions import clock_mhz, state
from .counting import NotCountedError, counted, stop_clock
from .memory import peak_bytes
from .model import JobError, Model, golden_errors
from .power import Meter, Sensor, find_sensor
from .timing import Subject, interleave, thinned
from .visits import visits
from .worker import Worker

__all__ = ["TASKS"]

Emit = Callable[..., None]


def _check(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """The versions that run there, and each job's golden vectors."""
    emit("description", **_description(_root(document)))
    for name, job in jobs.items():
        if "golden" in job:
            _attempt(emit, name, "golden", partial(_compared, job, folder))


def _compared(job: Mapping[str, Any], folder: str) -> dict[str, Any]:
    return {"errors": golden_errors(job, folder)}


def _load(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """Load and first run, and the most memory that took: of one job a process, or the peak is of several."""
    for name, job in jobs.items():
        _attempt(emit, name, "loaded", partial(_alone, job, folder, _root(document)))


def _alone(job: Mapping[str, Any], folder: str, root: str) -> dict[str, Any]:
    before = peak_bytes(root)
    model = Model(job, folder)
    start = time.perf_counter()
    model.first()
    first, runs = time.perf_counter(), 0
    while runs < 3 and time.perf_counter() - first < 1.0:  # the runtime plans its memory from the second run on
        model.first()
        runs += 1
    return {
        "load_ms": model.load_seconds * 1e3, "first_ms": (first - start) * 1e3, "before_bytes": before,
        "peak_bytes": peak_bytes(root), "providers": model.providers,
        "errors": golden_errors(job, folder, model.session) if "golden" in job else {},
    }  # fmt: skip


def _rounds(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """Times of all jobs, interleaved."""
    root, samples = _root(document), bool(document.get("samples"))
    emit("state", **state(root))
    subjects: dict[str, Subject] = {}
    for name, job in jobs.items():
        try:
            subjects[name] = _subject(job, folder)
        except JobError as error:
            emit("failed", id=name, kind=error.kind, reason=error.reason)
    for subject in subjects.values():
        subject.warm_up(float(document.get("warmup_seconds", 0.5)))
    rounds = interleave(
        subjects, min_runs=document.get("min_runs", 50), min_seconds=document.get("min_seconds", 1.0),
        min_rounds=document.get("min_rounds", 0),
    )  # fmt: skip
    for index, times in enumerate(rounds, int(document.get("first_round", 0))):
        clock = clock_mhz(root)  # at once, before the governor knows that the runs have ended
        emit("round", index=index, clock_mhz=clock, blocks={name: _block(t, samples) for name, t in times.items()})
    for subject in subjects.values():
        subject.close()
    emit("state", **state(root))


def _subject(job: Mapping[str, Any], folder: str) -> Subject:
    """A job that has run once, with what an interrupted run had."""
    if "worker" in job:
        return Worker(job, folder)
    model, done = Model(job, folder), job.get("done", {})
    model.first()
    runs, rounds = int(done.get("runs", 0)), int(done.get("rounds", 0))
    return Subject(model.run, runs, float(done.get("seconds", 0.0)), rounds)


def _block(seconds: list[float], samples: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "runs": len(seconds), "seconds": sum(seconds), "median_ms": median(seconds) * 1e3,
        "min_ms": min(seconds) * 1e3,
    }  # fmt: skip
    if samples:
        found["sample_ms"] = [float(f"{each * 1e3:.6g}") for each in thinned(seconds)]
    return found


def _energy(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """Energy of a steady block of each job's runs, and power while the board idles just before."""
    sensor = find_sensor(_root(document))
    if sensor is not None:
        for name, job in jobs.items():
            _attempt(emit, name, "energy", partial(_spent, job, document, folder, sensor))
    emit("state", **state(_root(document)))


def _spent(job: Mapping[str, Any], document: Mapping[str, Any], folder: str, sensor: Sensor) -> dict[str, Any]:
    subject = _subject(job, folder)
    with Meter(sensor) as idle:
        time.sleep(float(document.get("idle_seconds", 1.0)))
    subject.warm_up(float(document.get("warmup_seconds", 0.5)))
    runs, end = 0, time.perf_counter() + float(document.get("energy_seconds", 2.0))
    with Meter(sensor) as busy:
        while time.perf_counter() < end or not runs:
            subject.once()
            runs += 1
    subject.close()
    return {
        "joules": busy.joules, "seconds": busy.seconds, "runs": runs, "samples": busy.samples,
        "idle_watts": idle.watts, "sensor": sensor.name,
    }  # fmt: skip


def _count(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """Instructions of each job, in a copy of this process, whose clock can stand still."""
    for name, job in jobs.items():
        copy = os.fork()
        if not copy:
            _count_and_exit(name, job, document, folder, emit)
        status = os.waitpid(copy, 0)[1]
        if status:
            emit("failed", id=name, kind="run", reason=f"its process ended with wait status {status}")


def _count_and_exit(name: str, job: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """What the copy does. It must not return: it would go on with the original's work."""
    try:
        _attempt(emit, name, "counted", partial(_counted, job, document, folder))
    except Exception:  # nothing may leave the copy; its status has the original emit "failed"
        logging.getLogger(__name__).exception("job %s", name)
        os._exit(1)
    os._exit(0)


def _counted(job: Mapping[str, Any], document: Mapping[str, Any], folder: str) -> dict[str, Any]:
    stop_clock()
    model, runs = Model(dict(job, threads=1), folder), int(document.get("count_runs", 5))
    for _ in range(int(document.get("uncounted_runs", 10))):
        model.first()
    try:
        counts = sorted(counted(model.run, 1) for _ in range(runs))
        return {"instructions": counts[len(counts) // 2], "spread": counts[-1] - counts[0], "runs": runs}
    except NotCountedError as error:
        raise JobError("count", error) from error


def _description(root: str) -> dict[str, Any]:
    sensor = find_sensor(root)
    return {
        "python": platform.python_version(), "numpy": numpy.__version__, "onnxruntime": onnxruntime.__version__,
        "providers": list(onnxruntime.get_available_providers()),
        "sensor": None if sensor is None else sensor.name, "state": state(root),
    }  # fmt: skip


def _attempt(emit: Emit, name: str, event: str, work: Callable[[], Mapping[str, Any]]) -> None:
    """Emit `event` with what `work` returns. A job that fails is told, and the others go on."""
    try:
        fields = work()
    except JobError as error:
        emit("failed", id=name, kind=error.kind, reason=error.reason)
    else:
        emit(event, id=name, **fields)


def _root(document: Mapping[str, Any]) -> str:
    return str(document.get("root", "/"))


def _decode(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """What decoders take until the first token of an answer, and for each further one."""
    runs, seconds = int(document.get("answers", 3)), float(document.get("answer_seconds", 1.0))
    for name, job in jobs.items():
        if "decoder" in job:
            _attempt(emit, name, "decoded", partial(answered, job, folder, runs=runs, seconds=seconds))


TASKS = {
    "check": _check, "load": _load, "rounds": _rounds, "energy": _energy, "count": _count, "visits": visits,
    "decode": _decode,
}  # fmt: skip
