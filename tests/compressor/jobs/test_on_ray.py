"""Jobs as Ray's tasks: with what stands in for Ray, and with Ray itself where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from listed import PLACES, listed, pretend

from compressor.errors import InputError
from compressor.graph.contract import Progress
from compressor.jobs.document import Job
from compressor.jobs.on_ray import check_ray, do_on_ray
from compressor.jobs.records import read
from compressor.jobs.running import Asked, run_list
from compressor.request import Request


class RayError(Exception):
    pass


class Pretended:
    """Ray's calls, in this process; a task of the name "dies" loses its worker."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.cores: dict[str, float] = {}

    def is_initialized(self) -> bool:
        return "init" in self.calls

    def init(self, **_: Any) -> None:
        self.calls.append("init")

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]

    def remote(self, max_retries: int) -> Any:
        assert max_retries == 0, "what killed a worker would kill the next one"

        def wrap(function: Callable[..., None]) -> Any:
            def options(name: str, num_cpus: float) -> Any:
                self.cores[name] = num_cpus
                return SimpleNamespace(remote=lambda *given: functools.partial(self._do, name, function, *given))

            return SimpleNamespace(options=options)

        return wrap

    def _do(self, name: str, function: Callable[..., None], *given: Any) -> None:
        if name == "dies":
            raise RayError("a traceback\nthe worker died")
        function(*given)

    def wait(self, tasks: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: Callable[[], None]) -> None:
        task()


def test_each_job_is_a_task_and_a_worker_that_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Pretended()
    monkeypatch.setitem(sys.modules, "ray", ray)
    jobs = [Job("one", Request("a.pt", "host", threads=64)), Job("dies", Request("b.pt", "host"))]
    done: list[str] = []
    lost: list[tuple[str, str]] = []
    do_on_ray(
        jobs, lambda job: done.append(job.name), Progress(), lambda job, reason: lost.append((job.name, reason))
    )  # fmt: skip
    assert done == ["one"]
    assert lost == [("dies", "the worker died")]
    assert ray.cores == {"one": 2.0, "dies": 1}, "no more than any node has: it would wait forever"
    assert ray.calls == ["init", "shutdown"]


def test_a_job_whose_worker_ended_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Pretended())
    path = listed(tmp_path, f'[defaults]\ntarget = "host"\n[[job]]\nname = "dies"\nmodel = "{tmp_path / "a.pt"}"\n')
    found = run_list(Asked(path, {}, tmp_path / "out", engine="ray"), pretend, Progress())
    [record] = found.records
    assert (record.state, record.exit_code, record.error) == ("failed", 1, "its worker ended: the worker died")


def test_without_ray_there_is_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"(?s)not installed.*edge-compressor\[ray\].*--shard"):
        check_ray()
    with pytest.raises(InputError, match="not installed"):
        run_list(Asked(listed(tmp_path), {}, tmp_path / "out", engine="ray"), pretend, Progress())
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'edge-compressor[ray]'")
@pytest.mark.filterwarnings("default")  # Ray's own
def test_on_ray_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PLACES)
    path = listed(tmp_path)
    (tmp_path / "b.pt").write_text("broken")
    (tmp_path / "c.pt").write_text("deadly")
    found = run_list(Asked(path, {}, tmp_path / "out", engine="ray"), pretend, Progress())
    assert [record.state for record in found.records] == ["done", "done", *["failed"] * 4]
    assert "its worker ended" in found.records[-1].error
    record = read(tmp_path / "out", "a-host")
    assert record is not None
    assert record.process != os.getpid()
