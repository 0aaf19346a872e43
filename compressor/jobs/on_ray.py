"""`--engine ray`: each job a task of Ray's, on a cluster that is there (`RAY_ADDRESS`) or on this machine's cores.

A task takes as many cores as its `--threads`, or one. Models, data and `--out` are on disks that every node sees.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from compressor.errors import InputError
from compressor.graph.contract import Progress
from compressor.jobs.document import Job

__all__ = ["check_ray", "do_on_ray"]


def check_ray() -> Any:
    """Ray. Raises InputError where it is missing."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            f"Ray is not installed here ({error})", where="--engine ray",
            way_out="pip install 'edge-compressor[ray]', or start a process for each --shard i/n.",
        ) from error  # fmt: skip


def do_on_ray(
    jobs: Sequence[Job], task: Callable[[Job], None], progress: Progress, lost: Callable[[Job, str], None]
) -> None:  # fmt: skip
    """Every job, as cores get free; `lost` is told of one whose worker ended, and why."""
    ray = check_ray()
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, logging_level="ERROR")
    try:
        most = max((node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"]), default=1.0)
        here = ray.remote(max_retries=0)(_there)
        given = (task, os.getcwd())
        running = {
            here.options(name=job.name, num_cpus=min(job.request.threads or 1, most)).remote(job, *given): job
            for job in jobs
        }
        while running:
            [ended], _ = ray.wait(list(running), num_returns=1)
            job = running.pop(ended)
            try:
                ray.get(ended)
            except ray.exceptions.RayError as error:
                lost(job, (str(error).strip().splitlines() or [type(error).__name__])[-1])
            progress.say(f"{len(jobs) - len(running)} of {len(jobs)} jobs: {job.name}")
    finally:
        if ours:
            ray.shutdown()


def _there(job: Job, task: Callable[[Job], None], folder: str) -> None:
    """In a worker, where paths mean what they did here."""
    os.chdir(folder)
    task(job)
