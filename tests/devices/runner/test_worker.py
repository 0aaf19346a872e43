"""A model that another program runs and times: asked line by line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from own_device import program

from compressor.devices.runner.model import JobError
from compressor.devices.runner.timing import interleave
from compressor.devices.runner.worker import Worker

SERVE = """
[ "$1" = serve ] || exit 2
echo '{"event": "ready", "load_ms": 1.5}'
while read word seconds; do
    case "$word" in
        once) echo '{"event": "times", "seconds": [0.25]}' ;;
        warm) echo "$seconds" >> "$2"; echo '{"event": "times", "seconds": []}' ;;
        block) echo '{"event": "times", "seconds": [0.1, 0.3]}' ;;
    esac
done
"""


def job(**changes: object) -> dict[str, object]:
    return {"id": "1", "worker": {"program": "bin/runner", "document": "1/serve"}, **changes}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    program(tmp_path / "bin", "runner", SERVE)
    return tmp_path


def test_its_times_are_the_programs_own(there: Path) -> None:
    worker = Worker(job(done={"runs": 4, "seconds": 2.0}), str(there))
    assert (worker.runs, worker.seconds) == (4, 2.0)
    worker.warm_up(0.125)
    assert (there / "1" / "serve").read_text() == "0.125\n"
    assert worker.once() == 0.25
    assert worker.runs == 4, "single runs do not count"
    assert worker.block() == [0.1, 0.3]
    assert (worker.runs, worker.seconds) == (6, 2.4)
    worker.close()
    assert worker.process.returncode == 0


def test_it_takes_its_turn_with_others(there: Path) -> None:
    subjects = {"a": Worker(job(), str(there)), "b": Worker(job(done={"runs": 6, "seconds": 9.0}), str(there))}
    rounds = list(interleave(subjects, min_runs=4, min_seconds=0.0))
    assert rounds == [{"a": [0.1, 0.3]}] * 2
    for worker in subjects.values():
        worker.close()


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ('echo \'{"event": "failed", "kind": "load", "reason": "no such network"}\'', "load", "no such network"),
        ("exit 3", "run", "status 3"),
        ('echo \'{"event": "ready"}\'; read line; exit 1', "run", "status 1"),
    ],
)
def test_a_program_that_fails_is_a_job_that_fails(tmp_path: Path, script: str, kind: str, reason: str) -> None:
    program(tmp_path / "bin", "runner", script)
    with pytest.raises(JobError, match=reason) as told, contextlib.closing(Worker(job(), str(tmp_path))) as worker:
        worker.block()
    assert told.value.kind == kind


def test_a_program_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="bin/runner does not start"):
        Worker(job(), str(tmp_path))
