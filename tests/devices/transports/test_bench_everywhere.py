"""`compress bench` by every transport: a board that is lost in the middle, and the same command again.

The same for all: verified there, measured, gone on with, and nothing left behind.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulation import emulated_root
from loopback_boards import TRANSPORTS, LoopbackBoard, loopback_board, processes
from made_once import lend_runners

from compressor.cache import default_folder
from compressor.cli.main import run
from compressor.devices.journal import Journal

EMULATED = [name for name in TRANSPORTS if name.startswith("qemu")]


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.emulated] * (name in EMULATED)) for name in TRANSPORTS])
def reached(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackBoard]:
    if request.param in EMULATED:
        emulated_root(tmp_path_factory)
    with loopback_board(request.param) as found:
        monkeypatch.setenv("COMPRESS_CACHE", str(lend_runners(tmp_path_factory.mktemp("cache") / "cache")))
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(tempfile, "tempdir", None)  # it remembers what TMPDIR was
        yield found
        tempfile.tempdir = None


def test_bench_end_to_end(
    reached: LoopbackBoard, digits_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    journals = default_folder().parent / "bench"
    command = ["bench", str(digits_bundle), "--device", reached.url, "--json", "--time", "1s", "--threads", "1"]
    if reached.timed:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "add", losing(reached))
            assert run(command) == (2 if reached.url == "local" else 1)
        told = capfd.readouterr().err
        assert "the runner" in told if reached.url == "local" else "the same command goes on" in told
        assert [path.suffix for path in journals.iterdir()] == [".jsonl"]
        wait_for_its_end(reached.temporary)
        reached.return_()
    status = run(command)
    printed = capfd.readouterr()
    assert status == 0, printed.err
    found = json.loads(printed.out)
    verified(found)
    if reached.timed:
        assert "going on where an earlier run was cut off" in printed.err
        measured(found)
    assert found["timed"] == bool(found["figures"]) == reached.timed
    assert list(reached.temporary.glob("**/runner")) == [], "nothing is left there, of the lost run neither"
    assert processes(reached.temporary) == []
    assert list(journals.iterdir()) == []


def losing(reached: LoopbackBoard) -> Any:
    """A journal's `add` that loses the board when the first round has come."""
    add = Journal.add

    def losing_add(self: Journal, event: Any) -> None:
        add(self, event)
        if event["event"] == "round" and len(self.named("round")) == 1:
            reached.vanish()

    return losing_add


def wait_for_its_end(temporary: Path) -> None:
    """What ran there notices that it is alone."""
    for _ in range(400):
        if not processes(temporary):
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {processes(temporary)}")


def verified(found: dict[str, Any]) -> None:
    [errors] = found["errors"].values()
    assert set(errors) == {"output"}
    assert 0 <= errors["output"] <= 0.05


def measured(found: dict[str, Any]) -> None:
    [each] = found["figures"]
    assert each["errors"]["output"] <= each["tolerance"]
    assert 0 < each["min"] <= each["p50"] <= each["p90"] <= each["p99"]
    assert each["load_ms"] > 0
    assert each["first_ms"] > 0
    assert each["throughput"] > 0
    assert each["peak_memory_bytes"] >= each["runtime_bytes"] > 0
    assert sorted(map(int, each["rounds"])) == list(range(len(each["rounds"])))


def test_machine_code_is_timed_in_turn_with_a_model(
    reached: LoopbackBoard, digits_bundle: Path, tvm_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundles = str(digits_bundle), str(tvm_bundle)
    status = run(["bench", *bundles, "--device", reached.url, "--json", "--time", "200ms", "--threads", "1"])
    printed = capfd.readouterr()
    if not reached.timed:
        assert status == 2
        assert "emulated" in printed.err
        return
    assert status == 0, printed.err
    found = json.loads(printed.out)
    assert [each["providers"] for each in found["figures"]] == [["CPUExecutionProvider"], ["TVM"]]
    assert found["comparisons"][0]["low"] > 0
    assert list(reached.temporary.glob("**/runner-tvm")) == []
    assert processes(reached.temporary) == []
