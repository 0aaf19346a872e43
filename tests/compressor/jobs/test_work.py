"""One job: done once, noted where it fails, and left to a process that is at it."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from listed import listed, pretend

from compressor.errors import OutputError
from compressor.fronting import Front
from compressor.jobs.document import Job
from compressor.jobs.records import begun, lock_of, read, write
from compressor.jobs.work import check_folders, do, finished, standing
from compressor.locks import held
from compressor.request import Request


def _job(folder: Path, content: str = "fine") -> Job:
    listed(folder)
    (folder / "a.pt").write_text(content)
    return Job("a-host", Request(str(folder / "a.pt"), "host"))


def _times(folder: Path) -> int:
    return int(json.loads((folder / "a-host" / "manifest.json").read_text())["times"])


def _done(job: Job, out: Path) -> None:
    do(job, out=out, compress=pretend, force=False)


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    job, out = _job(tmp_path), tmp_path / "out"
    for _ in range(2):
        _done(job, out)
    assert _times(out) == 1
    record = standing(job, out)
    assert (record.state, record.exit_code, record.verdict) == ("done", 0, "compressed")
    assert record.figures["after"]["bytes"] == 3_700_000
    (tmp_path / "a.pt").write_text("trained further")
    assert standing(job, out).state == "waiting"
    _done(job, out)
    assert _times(out) == 2
    _done(Job(job.name, replace(job.request, latency="0.5x")), out)
    assert _times(out) == 3


@pytest.mark.parametrize(("content", "code", "told"), [("broken", 2, "is no model"), ("faulty", 1, "of ours")])
def test_what_fails_is_noted_and_tried_again(tmp_path: Path, content: str, code: int, told: str) -> None:
    job, out = _job(tmp_path, content), tmp_path / "out"
    _done(job, out)
    record = standing(job, out)
    assert (record.state, record.exit_code) == ("failed", code)
    assert told in record.error
    (tmp_path / "a.pt").write_text("mended")
    _done(job, out)
    assert standing(job, out).state == "done"


def test_what_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    job, out = _job(tmp_path), tmp_path / "out"
    write(out, begun(job))
    with held(lock_of(out, job.name)):
        _done(job, out)
        assert standing(job, out).state == "running"
    assert not (out / job.name).exists()
    assert standing(job, out).state == "broke off"
    _done(job, out)
    assert standing(job, out).state == "done"


def test_a_bundle_that_is_gone_is_made_again(tmp_path: Path) -> None:
    job, out = _job(tmp_path), tmp_path / "out"
    _done(job, out)
    assert finished(job, out, read(out, job.name))
    (out / job.name / "manifest.json").unlink()
    assert not finished(job, out, read(out, job.name))


def test_a_folder_of_other_hands_is_refused(tmp_path: Path) -> None:
    job, out = _job(tmp_path), tmp_path / "out"
    check_folders([job], out, force=False)
    (out / job.name).mkdir(parents=True)
    with pytest.raises(OutputError, match="not of these jobs"):
        check_folders([job], out, force=False)
    check_folders([job], out, force=True)
    write(out, begun(job))
    check_folders([job], out, force=False)
    with pytest.raises(OutputError, match="parent folder"):
        check_folders([job], tmp_path / "none" / "out", force=False)


def test_a_front_is_a_job_too(tmp_path: Path) -> None:
    job, out = _job(tmp_path), tmp_path / "out"
    do(job, out=out, compress=functools.partial(_front, out / job.name), force=False)
    assert standing(job, out).verdict == "0 plans"


def _front(folder: Path, request: Request) -> Front:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text("{}")
    return Front((), folder, "exact")
