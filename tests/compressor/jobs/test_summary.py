"""The table, and one exit status for many jobs."""

from __future__ import annotations

import io
import json

import pytest

from compressor.jobs.records import Record
from compressor.jobs.summary import Jobs

FIGURES = {
    "before": {"latency_ms": 2.0, "bytes": 2e6, "metric": 0.9},
    "after": {"latency_ms": 1.0, "bytes": 5e5, "metric": 0.89},
}


def _records() -> tuple[Record, ...]:
    return (
        Record("fine", "d", "m", {}, "done", 0, figures=FIGURES),
        Record("poor", "d", "m", {}, "done", 3, verdict="best-kept: latency budget missed"),
        Record("wrong", "d", "m", {}, "failed", 2, "is no model\n  Save it again."),
        Record("faulty", "d", "m", {}, "failed", 1, "KeyError: x"),
        Record("later", "d", "m", {}),
    )


@pytest.mark.parametrize(
    ("mine", "code"),
    [(["fine"], 0), (["fine", "poor"], 3), (["poor", "wrong"], 2), (["fine", "poor", "wrong", "faulty"], 1), ([], 0)],
)
def test_the_worst_of_its_own_jobs_is_the_exit_status(mine: list[str], code: int) -> None:
    assert Jobs(_records(), frozenset(mine)).exit_code == code


def test_the_table_has_every_job_and_why_one_failed() -> None:
    stream = io.StringIO()
    Jobs(_records()).render(stream)
    lines = stream.getvalue().splitlines()
    assert "1 ms 0.50× 500 kB 0.25×" in " ".join(lines[1].replace("1.000", "1").split())
    assert [line.split()[0] for line in lines[1:6]] == ["fine", "poor", "wrong", "faulty", "later"]
    assert any("wrong: is no model" in line for line in lines)
    assert any("poor: best-kept" in line for line in lines)
    assert "5 jobs: 2 done, 2 failed, 1 waiting" in lines


def test_json_has_all_of_it() -> None:
    found = json.loads(json.dumps(Jobs(_records(), frozenset({"fine"})).to_json()))
    assert [job["name"] for job in found["jobs"]] == ["fine", "poor", "wrong", "faulty", "later"]
    assert found["states"] == {"done": 2, "failed": 2, "waiting": 1}
    assert found["exit_code"] == 0
