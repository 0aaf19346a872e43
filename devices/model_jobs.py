"""Small models as jobs of the runner: what each is fed, the files that are pushed for it, and what it is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Job", "job_key", "staged"]


@dataclass(frozen=True)
class Job:
    """One model, without external weights, and what it is fed.

    `inputs` by name are as the runner takes them (`runner/__init__.py`): {"shape", "dtype", "low", "high"}, or
    {"npz": Path, "key", "batch"} with a file of this machine.
    """

    model: Path
    inputs: Mapping[str, Mapping[str, Any]]
    threads: int = 1
    providers: tuple[str, ...] = ()


def staged(batch: Mapping[str, Job], folder: str) -> tuple[dict[str, Path], list[dict[str, Any]]]:
    """The files by their names in `folder` there, and the runner's jobs, which have the batch's keys as ids."""
    files: dict[str, Path] = {}
    jobs = []
    for key, job in batch.items():
        files[f"{key}.onnx"] = job.model
        inputs = {}
        for index, (name, spec) in enumerate(job.inputs.items()):
            inputs[name] = dict(spec)
            if "npz" in spec:
                file = f"{key}-{index}.npz"
                files[file], inputs[name]["npz"] = Path(spec["npz"]), f"{folder}/{file}"
        jobs.append({
            "id": key, "model": f"{folder}/{key}.onnx", "inputs": inputs, "threads": job.threads,
            "providers": list(job.providers),
        })  # fmt: skip
    return files, jobs


def job_key(job: Job) -> str:
    """By content: the model, arrays that it is fed, and how it is run. Raises OSError where a file cannot be read."""
    inputs = {}
    for name, spec in job.inputs.items():
        files = {"npz": hashlib.sha256(Path(spec["npz"]).read_bytes()).hexdigest()} if "npz" in spec else {}
        inputs[name] = {**spec, **files}
    parts = [inputs, job.threads, list(job.providers), hashlib.sha256(job.model.read_bytes()).hexdigest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
