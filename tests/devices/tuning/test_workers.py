"""Workers side by side: what crashes or hangs costs its own request, and nothing stays when all is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compressor.devices.tuning.workers import Workers
from compressor.errors import DeviceError


def nothing() -> Mapping[str, Any]:
    return {"do": "nothing"}


def test_answers_come_in_order() -> None:
    with Workers(2) as workers:
        answers = workers.ask([lambda name=name: {"do": name} for name in "abcde"], timeout=10)  # type: ignore[misc]
        assert [answer["error"] for answer in answers] == [f"KeyError: '{name}'" for name in "abcde"]
        assert 1 <= len(workers.processes) <= 2
    assert workers.processes == []


def test_one_that_is_killed_is_replaced() -> None:
    with Workers(1) as workers:
        workers.ask([nothing], timeout=10)
        (first,) = workers.processes
        os.kill(first, signal.SIGKILL)
        (answer,) = workers.ask([nothing], timeout=10)
        assert answer["error"] == "the process ended with status -9"
        assert workers.ask([nothing], timeout=10)[0]["error"] == "KeyError: 'nothing'"
        assert first not in workers.processes


def test_one_that_hangs_is_replaced() -> None:
    with Workers(1) as workers:
        workers.ask([nothing], timeout=10)
        (first,) = workers.processes
        os.kill(first, signal.SIGSTOP)
        (answer,) = workers.ask([nothing], timeout=0.5)
        assert answer["error"] == "no answer within 0.5 s"
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert workers.ask([nothing], timeout=10)[0]["error"] == "KeyError: 'nothing'"


def test_what_making_a_request_raises_is_raised() -> None:
    def refuse() -> Mapping[str, Any]:
        raise DeviceError("no board is free")

    with Workers(2) as workers, pytest.raises(DeviceError, match="no board is free"):
        workers.ask([nothing, refuse, nothing], timeout=10)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_the_process_that_started_it(how: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "from compressor.devices.tuning.workers import Workers\n"
        "with Workers(2) as workers:\n"
        "    workers.ask([lambda: {'do': 'x'}] * 2, timeout=10)\n"
        "    print(*workers.processes, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    started = [int(word) for word in process.stdout.readline().split()]
    assert started
    process.send_signal(how)
    process.wait(20)
    process.stdout.close()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{each}/cmdline").exists() for each in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [each for each in started if Path(f"/proc/{each}/cmdline").exists()]
