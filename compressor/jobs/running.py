"""`compress jobs.toml`: a list of jobs from its file to the table, in this process or on an engine.

read, check all ─ those of the shard ─ do ─ what became of all of them
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compressor.checking import checked
from compressor.errors import CompressError, InputError
from compressor.graph.contract import Progress
from compressor.jobs import ENGINES
from compressor.jobs.document import SUMMARY, Job, jobs_of, read_list
from compressor.jobs.on_ray import check_ray, do_on_ray
from compressor.jobs.records import FOLDER, begun, lock_of, read, write, write_whole
from compressor.jobs.shard import parse_shard
from compressor.jobs.summary import Jobs
from compressor.jobs.work import Compress, check_folders, do, do_all, failed, standing
from compressor.locks import held

__all__ = ["Asked", "run_list"]


@dataclass(frozen=True)
class Asked:
    """What is said of a whole list. `given` are options for all jobs, as `Request` names them; `out` the folder of all
    bundles, else one called after the file."""

    jobs: Path | Sequence[Mapping[str, Any]]
    given: Mapping[str, Any]
    out: Path | None = None
    force: bool = False
    dry_run: bool = False
    shard: str | None = None
    engine: Literal["here", "ray"] = "here"


def run_list(asked: Asked, compress: Compress, progress: Progress) -> Jobs:
    """Raises the errors of `compressor.errors` for what can be told before anything runs; what goes wrong in one job is
    in its record."""
    shard = parse_shard(asked.shard)
    if asked.engine not in ENGINES:
        raise InputError(f"{asked.engine!r} is no engine", where="--engine", way_out=f"It is {' or '.join(ENGINES)}.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("torchrun trains one model", way_out="Start a process for each --shard i/n.")
    from_file = isinstance(asked.jobs, Path)
    defaults, tables = read_list(asked.jobs) if isinstance(asked.jobs, Path) else ({}, asked.jobs)
    jobs = jobs_of(defaults, tables, asked.given, str(asked.jobs) if from_file else "jobs")
    out = asked.out or Path(asked.jobs.stem if isinstance(asked.jobs, Path) else "jobs")
    check_folders(jobs, out, force=asked.force)
    for job in jobs:
        _check(job)
    if asked.engine == "ray":
        check_ray()
    mine = [job for position, job in enumerate(jobs) if shard.has(position)]
    if not asked.dry_run:
        _do(mine, asked, out.absolute(), compress, progress)
    shown = mine if asked.dry_run else jobs
    records = tuple(standing(job, out) for job in shown)
    found = Jobs(records, frozenset(job.name for job in mine), None if asked.dry_run else out)
    if not asked.dry_run:
        write_whole(out / SUMMARY, found.to_json())
    return found


def _do(jobs: Sequence[Job], asked: Asked, out: Path, compress: Compress, progress: Progress) -> None:
    task = functools.partial(do, out=out, compress=compress, force=asked.force)
    broken = {job.name for job in jobs if (out / FOLDER).is_dir() and standing(job, out).state == "broke off"}
    ordered = sorted(jobs, key=lambda job: job.name in broken)
    if asked.engine == "ray":
        do_on_ray(ordered, task, progress, _lost(out))
    else:
        do_all(ordered, task, progress)


def _lost(out: Path) -> Callable[[Job, str], None]:
    """What notes that a worker ended in the middle of a job."""

    def note(job: Job, reason: str) -> None:
        with held(lock_of(out, job.name), wait=False) as ours:
            if ours:
                write(out, failed(read(out, job.name) or begun(job), f"its worker ended: {reason}", 1))

    return note


def _check(job: Job) -> None:
    """Raises what the job's request alone is refused for, with the job's name."""
    try:
        checked(job.request)
        begun(job)
    except CompressError as error:
        where = f"{job.name}: {error.where}".removesuffix(": ")
        raise type(error)(error.what, where=where, way_out=error.way_out) from error
