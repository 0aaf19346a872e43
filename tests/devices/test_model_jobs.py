"""Small models as the runner's jobs: known by content, their files named so that none meets another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_models import kernel

from compressor.devices.model_jobs import Job, job_key, staged


def _job(folder: Path) -> Job:
    np.savez(folder / "x.npz", x=np.ones((3, 8), np.float32))
    return Job(kernel(folder / "a.onnx", 8), {"x": {"npz": folder / "x.npz", "batch": 1}})


def test_a_job_is_known_by_content_inputs_and_threads(tmp_path: Path) -> None:
    job = _job(tmp_path)
    key = job_key(job)
    other = tmp_path / "other"
    other.mkdir()
    same = _job(other)
    assert job_key(same) == job_key(job) == key, "not by where its files lie"
    changed = [
        replace(job, threads=2),
        replace(job, inputs={"x": {"shape": [1, 8]}}),
        replace(job, providers=("CUDA",)),
    ]
    np.savez(other / "x.npz", x=np.zeros((3, 8), np.float32))
    kernel(tmp_path / "b.onnx", 16)
    changed += [same, replace(job, model=tmp_path / "b.onnx")]
    assert len({key, *map(job_key, changed)}) == 6


def test_files_are_named_by_key_and_jobs_point_at_them(tmp_path: Path) -> None:
    job = _job(tmp_path)
    files, jobs = staged({"k": job, "l": replace(job, inputs={"x": {"shape": [1, 8]}}, threads=3)}, "there")
    assert files == {"k.onnx": job.model, "k-0.npz": tmp_path / "x.npz", "l.onnx": job.model}
    first, second = jobs
    assert (first["id"], first["model"], first["threads"]) == ("k", "there/k.onnx", 1)
    assert first["inputs"] == {"x": {"npz": "there/k-0.npz", "batch": 1}}
    assert (second["threads"], second["inputs"]) == (3, {"x": {"shape": [1, 8]}})
    assert job.inputs["x"]["npz"] == tmp_path / "x.npz", "the job itself is left as it is"
