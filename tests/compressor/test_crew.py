"""Two processes of the command line on loopback: the first does the job, the other trains along and stays silent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recovery import digits_batches, digits_program
from torch import nn

from compressor import crew
from compressor.cli.main import run
from compressor.graph import storage
from compressor.graph.capture import capture
from compressor.graph.contract import Setting
from compressor.passlist import PassSpec


def test_one_process_announces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not crew.is_helper()
    with crew.announcing() as announce:
        assert announce is None


@pytest.mark.parametrize(("rank", "helps"), [("0", False), ("1", True)])
def test_all_but_the_first_help(monkeypatch: pytest.MonkeyPatch, rank: str, helps: bool) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    assert crew.is_helper() is helps


def test_what_is_announced_arrives_as_it_was() -> None:
    program = digits_program()
    sites: dict[str, Setting] = {"program": {"budget": "3steps"}}
    spec = PassSpec("recover", {"losses": "kl"}, sites)
    again, keep, arrived = crew._unpacked(crew._packed(spec, ("head.*",), program))
    assert (again, keep) == (spec, ("head.*",))
    assert arrived.hash() == program.hash()


def _student(path: Path) -> Path:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    storage.save(capture(network, (digits_batches()[0]["x"][:2],)).program, path)
    return path


def _start(command: list[str], rank: int, size: int, port: int) -> subprocess.Popen[str]:
    own = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    variables = {**os.environ, **own, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_end_where_one_does_and_only_the_first_speaks(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student = str(_student(tmp_path / "student.pt2"))

    def arguments(size: int) -> list[str]:
        return [
            student, "--teacher", str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm",
            "--passes", "fold", "--recover", "30steps", "--no-cache", "--json", "--out", str(tmp_path / f"out{size}"),
        ]  # fmt: skip

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "compressor", *arguments(2)]
    running = [_start(command, rank, 2, port) for rank in range(2)]
    capfd.readouterr()
    assert run(arguments(1)) == 0
    one: Any = json.loads(capfd.readouterr().out)
    told = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    two: Any = json.loads(told[0][0])
    assert told[1] == ("", ""), "helpers say nothing"
    assert two["after"]["metric"] == pytest.approx(one["after"]["metric"], abs=0.01)
    assert [entry["changed"] for entry in two["passes"]] == [entry["changed"] for entry in one["passes"]]
    assert (tmp_path / "out2" / "manifest.json").is_file()
