"""Does jobs one after the other: what is finished stays, what another process is at is left to it, what fails is noted.

    lock ─ finished? ─ record "running" ─ compress ─ record "done" or "failed"

A process that is killed leaves "running" and no lock: the job is done again, after those that nobody has begun, for it
may be what killed it. Stages that were finished come from the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from compressor.errors import CompressError, OutputError
from compressor.fronting import Front
from compressor.graph.contract import Progress
from compressor.jobs.document import Job
from compressor.jobs.records import Record, begun, digest_of, lock_of, read, write
from compressor.locks import held
from compressor.outcome import Outcome
from compressor.request import Request

__all__ = ["Compress", "check_folders", "do", "do_all", "failed", "finished", "standing"]

Compress = Callable[[Request], Outcome | Front]
_MARK = "manifest.json"  # of a bundle that is whole


def check_folders(jobs: Sequence[Job], out: Path, *, force: bool) -> None:
    """Raises OutputError where a job's folder is there and no job of such a list made it, unless `force`."""
    if not out.absolute().parent.is_dir():
        raise OutputError("its parent folder does not exist", where=str(out), way_out="Create it, or change --out.")
    for job in jobs:
        if (out / job.name).exists() and not force and read(out, job.name) is None:
            raise OutputError(
                "exists, and is not of these jobs", where=str(out / job.name),
                way_out="Give another --out, or --force to replace it.",
            )  # fmt: skip


def finished(job: Job, out: Path, record: Record | None) -> bool:
    """Whether the bundle of this very request is there. Raises InputError where a file of the job cannot be read."""
    if record is None or not record.ended or not (out / job.name / _MARK).is_file():
        return False
    return record.digest == digest_of(job.request)[0]


def standing(job: Job, out: Path) -> Record:
    """What there is to say of a job now, whoever did it."""
    record = read(out, job.name)
    if record is not None and record.state == "running":
        with held(lock_of(out, job.name), wait=False) as ours:
            record = replace(read(out, job.name) or record, state="broke off") if ours else record
            if ours and (latest := read(out, job.name)) is not None and latest.state != "running":
                record = latest
    if record is None or (record.ended and not finished(job, out, record)):  # none, or of another request
        return replace(begun(job), state="waiting", host="", process=0)
    return record


def do_all(jobs: Sequence[Job], task: Callable[[Job], None], progress: Progress) -> None:
    """In this process."""
    for number, job in enumerate(jobs, 1):
        progress.say(f"job {number} of {len(jobs)}: {job.name}")
        task(job)


def do(job: Job, *, out: Path, compress: Compress, force: bool) -> None:
    """One job, unless it is finished, or another process is at it. What goes wrong in it is in its record; raises
    OutputError where that cannot be written."""
    with held(lock_of(out, job.name), wait=False) as ours:
        earlier = read(out, job.name) if ours else None
        if not ours or finished(job, out, earlier):
            return
        record, started = begun(job), time.monotonic()
        write(out, record)
        request = replace(job.request, out=out / job.name, force=force or earlier is not None)
        try:
            ended = _ended(record, compress(request))
        except CompressError as error:
            ended = failed(record, str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001  a fault in one job stops no other
            line = (str(error).strip().splitlines() or [""])[0]
            ended = failed(record, f"{type(error).__name__}: {line}", 1)
        write(out, replace(ended, seconds=time.monotonic() - started))


def failed(record: Record, error: str, exit_code: int) -> Record:
    """The record of a job that ended without a bundle."""
    return replace(record, state="failed", error=error, exit_code=exit_code)


def _ended(record: Record, found: Outcome | Front) -> Record:
    if isinstance(found, Front):
        return replace(record, state="done", exit_code=found.exit_code, verdict=f"{len(found.points)} plans")
    report = found.report
    figures = {
        side: {
            "latency_ms": figures.latency_ms.predicted
            if figures.latency_ms.measured is None
            else figures.latency_ms.measured,
            "bytes": figures.file_bytes,
            "metric": figures.metric,
        }
        for side, figures in (("before", report.before), ("after", report.after))
    }
    said = ": ".join(filter(None, (report.verdict.outcome, report.verdict.reason)))
    return replace(record, state="done", exit_code=found.exit_code, verdict=said, figures=figures)
