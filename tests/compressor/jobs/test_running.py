"""A list of jobs, by several processes and over several calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from listed import PLACES, listed, pretend

from compressor.cli.main import run
from compressor.errors import CompressError, InputError
from compressor.graph.contract import Progress
from compressor.jobs.document import jobs_of, read_list
from compressor.jobs.records import begun, write
from compressor.jobs.running import Asked, run_list
from compressor.jobs.summary import Jobs
from compressor.outcome import Outcome
from compressor.request import Request


def _run(path: Path, **options: Any) -> Jobs:
    given = options.pop("given", {})
    return run_list(Asked(path, given, path.parent / "out", **options), pretend, Progress())


def _states(found: Jobs) -> list[str]:
    return [record.state for record in found.records]


def test_shards_do_it_all_and_each_prints_the_whole(tmp_path: Path) -> None:
    path = listed(tmp_path)
    first = _run(path, shard="1/2")
    assert _states(first) == ["done", "waiting"] * 3
    (tmp_path / "b.pt").write_text("broken")
    second = _run(path, shard="2/2")
    assert _states(second) == ["done", "done", "waiting", "failed", "done", "done"], "b has changed since"
    assert (first.exit_code, second.exit_code) == (0, 2)
    whole = _run(path)
    assert _states(whole) == ["done", "done", "failed", "failed", "done", "done"]
    told = json.loads((tmp_path / "out" / "jobs.json").read_text())
    assert [job["name"] for job in told["jobs"]][:2] == ["a-jetson-orin-nano", "a-host"]
    assert told["states"] == {"done": 4, "failed": 2}


def test_a_dry_run_lists_them_and_writes_nothing(tmp_path: Path) -> None:
    found = _run(listed(tmp_path), dry_run=True, shard="2/3")
    assert [record.name for record in found.records] == ["a-host", "c-jetson-orin-nano"]
    assert found.folder is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shard": "0/3"}, "is no shard"),
        ({"shard": "4/3"}, "is no shard"),
        ({"engine": "spark"}, "is no engine"),
        ({"given": {"latency": "8q"}}, r"a-jetson-orin-nano: --latency: '8q' is not a budget"),
        ({"given": {"passes": "flod"}}, "flod"),
        ({"given": {"data": "none.npz"}}, "a-jetson-orin-nano: --data: no such file"),
    ],
)
def test_what_can_be_told_beforehand_is(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(CompressError, match=told) as error:
        _run(listed(tmp_path), **options)
    assert error.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_torchrun_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun"):
        _run(listed(tmp_path))


def test_tables_from_python_do_as_well(tmp_path: Path) -> None:
    path = listed(tmp_path)
    jobs = [{"model": str(tmp_path / "a.pt"), "target": ["host", "jetson-orin-nano"], "size": "0.5x"}]
    found = run_list(Asked(jobs, {}, path.parent / "out"), pretend, Progress())
    assert [record.request["size"] for record in found.records] == ["0.5x", "0.5x"]
    assert found.folder == tmp_path / "out"


PROCESS = """
import sys
from pathlib import Path
from listed import pretend
from compressor.graph.contract import Progress
from compressor.jobs.running import Asked, run_list

path = Path(sys.argv[1])
run_list(Asked(path, {}, path.parent / "out"), pretend, Progress())
"""


def test_processes_do_each_job_once_and_kill_9_costs_that_job_alone(tmp_path: Path) -> None:
    path, out = listed(tmp_path), tmp_path / "out"
    (tmp_path / "a.pt").write_text("deadly")
    out.mkdir()
    (out / "a-host.killed").touch()  # only the other one kills
    command, environment = [sys.executable, "-c", PROCESS, str(path)], {**os.environ, "PYTHONPATH": PLACES}
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [-signal.SIGKILL, 0], told
    assert _states(_run(path)) == ["done"] * 6
    folders = [folder for folder in out.iterdir() if (folder / "manifest.json").is_file()]
    assert [json.loads((folder / "manifest.json").read_text())["times"] for folder in folders] == [1] * 6


def test_what_may_have_killed_a_process_is_tried_last(tmp_path: Path) -> None:
    path, out, seen = listed(tmp_path), tmp_path / "out", list[str]()
    [first, *_] = jobs_of(*read_list(path), {}, "")
    write(out, begun(first))
    assert _states(_run(path, dry_run=True))[0] == "broke off"

    def watched(request: Request) -> Outcome:
        seen.append(str(request.out and request.out.name))
        return pretend(request)

    run_list(Asked(path, {}, out), watched, Progress())
    assert seen[0] != first.name == seen[-1]


def test_from_the_command_line(digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Options that are given hold for all jobs; one that fails stops no other."""
    path = tmp_path / "jobs.toml"
    job = f'[[job]]\nmodel = "{digits / "model.pt"}"\ntarget = "web-wasm"\n'
    path.write_text(f'{job}{job}name = "odd"\ninput = "1x2x3x3"\n')
    out = tmp_path / "out"
    arguments = [str(path), "--passes", "none", "--out", str(out), "--json"]
    capfd.readouterr()
    assert run(arguments) == 2
    printed = capfd.readouterr()
    assert printed.err.index("job 1 of 2: model-web-wasm") < printed.err.index("lowering to ONNX")
    told = json.loads(printed.out)
    assert [job["state"] for job in told["jobs"]] == ["done", "failed"]
    assert told["jobs"][0]["request"]["passes"] == "none"
    assert told["jobs"][0]["figures"]["after"]["bytes"] > 1000
    assert (out / "model-web-wasm" / "model.onnx").is_file()
    assert run([*arguments, "--shard", "1/2"]) == 0
    assert run([str(digits / "model.pt"), "--target", "host", "--shard", "1/2"]) == 2
    assert "it is for a list of jobs" in capfd.readouterr().err
