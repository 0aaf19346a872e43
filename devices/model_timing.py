"""Times many small models on a device: pushed in batches, interleaved within a batch, resumed after a device was lost.

    for each batch:  push ─▶ rounds (all models of the batch together)

A model is known by its content, its inputs and its threads, so that a later call with other models beside it still
finds the times of those that were finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from compressor.devices.device import Device
from compressor.devices.journal import Journal
from compressor.devices.model_jobs import Job, job_key, staged
from compressor.devices.remote import Remote, on_device
from compressor.devices.runners import PYTHON
from compressor.devices.stability import throttling
from compressor.errors import DeviceError
from compressor.graph.contract import Progress

__all__ = ["Job", "Timed", "Timing", "time_models"]

_START = 300.0  # seconds: a slow board's start of Python and the runtime


@dataclass(frozen=True)
class Timed:
    """`rounds` are medians in milliseconds in order, `runs` all runs; or `error` says why there are none.

    `throttled` says why the board was slow while the model's batch was timed, empty where it was not.
    """

    rounds: tuple[float, ...]
    runs: int
    error: str = ""
    throttled: tuple[str, ...] = ()

    @property
    def median_ms(self) -> float:
        """The median of the rounds. Raises ValueError where it was not timed."""
        if not self.rounds:
            raise ValueError(f"it was not timed: {self.error}")
        return median(self.rounds)


@dataclass(frozen=True)
class Timing:
    """How long: what each model has at least, and how many share the rounds."""

    runs: int = 10
    seconds: float = 0.1
    warmup: float = 0.05
    batch: int = 32


def time_models(
    device: Device,
    jobs: Sequence[Job],
    timing: Timing = Timing(),
    *,
    folder: Path | None = None,
    progress: Progress = Progress(),  # noqa: B008  it has no state
) -> list[Timed]:
    """Time every job, in order. One that does not run there has an `error` and stops nobody.

    `folder` is where a run that may be cut off keeps what it has; it is removed at the end. Raises DeviceError for a
    device whose time means nothing or that lacks a runtime, DeviceLostError where it stops answering.
    """
    description = device.describe()
    if not description.timed:
        raise DeviceError("it is emulated: its time means nothing", where=device.url)
    parts = [device.url, asdict(description), asdict(timing), PYTHON.digest()]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    journal = Journal(None if folder is None else folder / f"models-{key}.jsonl")
    keys = [job_key(job) for job in jobs]
    ended = set(journal.by_id("ended"))
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in ended}
    if journal.resumed:
        progress.say(f"going on where an earlier run was cut off: {len(missing)} of {len(set(keys))} models are left")
    if missing:
        with on_device(device, journal) as remote:
            items = list(missing.items())
            batches = [dict(items[at : at + timing.batch]) for at in range(0, len(items), timing.batch)]
            for batch in progress.over(batches, "timing models"):
                _time(remote, batch, timing, journal)
    failed, ends = journal.by_id("failed"), journal.by_id("ended")
    found = {key: _timed(_blocks(journal, key), failed.get(key), ends[key]["throttled"]) for key in set(keys)}
    journal.remove()
    return [found[key] for key in keys]


def _time(remote: Remote, batch: Mapping[str, Job], timing: Timing, journal: Journal) -> None:
    """One batch; every event is kept under the models' keys."""
    folder = f"models-{next(iter(batch))}"
    files, jobs = staged(batch, folder)
    jobs = [{**job, "done": _done(journal, job["id"])} for job in jobs]
    remote.push(folder, files)
    states: list[dict[str, Any]] = []

    def keep(event: dict[str, Any]) -> None:
        states.append(event) if event["event"] == "state" else journal.add(event)

    remote.run(
        "rounds", jobs, timeout=_START + len(jobs) * (30 + 10 * (timing.seconds + timing.warmup)),
        on_event=keep, first_round=_last_round(journal, batch) + 1, min_runs=timing.runs,
        min_seconds=timing.seconds, warmup_seconds=timing.warmup,
    )  # fmt: skip
    reasons = throttling(states)
    for key in batch:
        journal.add({"event": "ended", "id": key, "throttled": reasons})


def _blocks(journal: Journal, key: str) -> dict[int, dict[str, Any]]:
    """A model's turns by round."""
    return {event["index"]: event["blocks"][key] for event in journal.named("round") if key in event["blocks"]}


def _done(journal: Journal, key: str) -> dict[str, float]:
    blocks = _blocks(journal, key).values()
    return {"runs": sum(block["runs"] for block in blocks), "seconds": sum(block["seconds"] for block in blocks)}


def _last_round(journal: Journal, batch: Mapping[str, Job]) -> int:
    return max((index for key in batch for index in _blocks(journal, key)), default=-1)


def _timed(
    blocks: Mapping[int, Mapping[str, Any]], failed: Mapping[str, Any] | None, throttled: Sequence[str]
) -> Timed:
    if failed is not None:
        return Timed((), 0, f"{failed['kind']}: {failed['reason']}")
    rounds = tuple(blocks[index]["median_ms"] for index in sorted(blocks))
    return Timed(rounds, sum(block["runs"] for block in blocks.values()), throttled=tuple(throttled))
