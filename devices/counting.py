"""Counts the instructions of many small models on an emulated device: what a profile of an Arm core can be made from.

A count is of one inference on one thread, with the call from Python around it; it is no time, and two cores that
execute as many instructions take different times. Two executions of the same jobs count the same to the last
instruction: addresses, random numbers and the clock are fixed, and no thread of the runtime's runs beside them
(`emulation/root.py`, `runner/counting.py`). Runs within one execution differ by a few hundred, as the heap moves on;
`spread` says how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.devices.device import Device
from compressor.devices.model_jobs import Job, job_key, staged
from compressor.devices.remote import Remote, on_device
from compressor.devices.runner.counting import COUNTS
from compressor.errors import DeviceError
from compressor.graph.contract import Progress

__all__ = ["RUNS", "Counted", "an_inference", "count_models", "environment"]

RUNS = 5  # that are counted one by one; the median is taken
BEFORE = (
    10  # not counted: the runtime plans its memory from the second run on, Python specializes its code by the eighth
)
_START = 300.0  # seconds: an emulated start of Python and the runtime
_EACH = 300.0  # seconds for one model
_BATCH = 32


@dataclass(frozen=True)
class Counted:
    """`instructions` an inference, the median run; or `error` says why there are none. `spread`: most less fewest."""

    instructions: int | None
    error: str = ""
    spread: int = 0


def count_models(
    device: Device,
    jobs: Sequence[Job],
    *,
    runs: int = RUNS,
    before: int = BEFORE,
    progress: Progress = Progress(),  # noqa: B008  it has no state
) -> list[Counted]:
    """Count every job, in order, on one thread whatever it says. One that does not run there stops nobody.

    Raises DeviceError for a device that counts no instructions or lacks a runtime.
    """
    if not device.describe().counted:
        way_out = "An emulated one does: `compress devices setup qemu`, then qemu://cortex-a76."
        raise DeviceError("it counts no instructions", where=device.url, way_out=way_out)
    keys = [job_key(job) for job in jobs]
    items = list(dict(zip(keys, jobs, strict=True)).items())
    batches = [dict(items[at : at + _BATCH]) for at in range(0, len(items), _BATCH)]
    found: dict[str, Counted] = {}
    with on_device(device) as remote:
        for batch in progress.over(batches, "counting instructions"):
            found.update(_count(remote, batch, count_runs=runs, uncounted_runs=before))
    return [found[key] for key in keys]


def environment(remote: Remote) -> dict[str, str]:
    """What the runner is given: the file for counts, by which the counting emulator is chosen; NumPy without threads,
    whose start races with the loading of libraries for addresses; and no symbol that is looked up in a counted run."""
    return {COUNTS: f"{remote.folder}/counts", "OPENBLAS_NUM_THREADS": "1", "LD_BIND_NOW": "1"}


def an_inference(event: Mapping[str, Any]) -> int:
    """Instructions an inference, from a `counted` event."""
    return int(event["instructions"])


def _count(remote: Remote, batch: Mapping[str, Job], **runs: Any) -> dict[str, Counted]:
    folder = f"models-{next(iter(batch))}"
    files, jobs = staged(batch, folder)
    remote.push(folder, files)
    found: dict[str, Counted] = {}

    def keep(event: dict[str, Any]) -> None:
        if event["event"] == "counted":
            found[event["id"]] = Counted(an_inference(event), spread=int(event.get("spread", 0)))
        elif event["event"] == "failed":
            found[event["id"]] = Counted(None, f"{event['kind']}: {event['reason']}")

    timeout = _START + _EACH * len(jobs)
    remote.run("count", jobs, timeout=timeout, on_event=keep, environment=environment(remote), **runs)
    return found
