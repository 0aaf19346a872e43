"""The worker's process: messages, answers that say what failed, and an end that leaves nothing behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from compiled import needs_tvm
from tuned import code, endless, product, tvm

from compressor.devices.tuning import worker
from compressor.devices.tuning.worker import answer, receive, send


def test_messages_come_out_as_they_went_in() -> None:
    stream = io.BytesIO()
    for message in ({"do": "x"}, [1, 2], None):
        send(stream, message)
    stream.seek(0)
    assert [receive(stream) for _ in range(3)] == [{"do": "x"}, [1, 2], None]
    with pytest.raises(EOFError):
        receive(stream)


@pytest.mark.parametrize("cut", [1, 7, 9])
def test_half_a_message_is_the_end(cut: int) -> None:
    stream = io.BytesIO()
    send(stream, "a message")
    with pytest.raises(EOFError):
        receive(io.BytesIO(stream.getvalue()[:cut]))


def build(function: Any, path: Path) -> dict[str, Any]:
    module = tvm.ir.save_json(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
    made = code()
    return {"do": "build", "module": module, "target": dict(made.llvm), "path": str(path), "link": list(made.link)}


def run(path: Path, **more: Any) -> dict[str, Any]:
    shapes = [([8, 32], "float32"), ([32, 16], "float32"), ([8, 16], "float32")]
    return {"do": "run", "paths": [str(path)], "arguments": shapes, "where": None, "threads": 1, "timeout": 5, **more}


def test_a_library_is_built_run_and_timed(tmp_path: Path) -> None:
    needs_tvm()
    path = tmp_path / "f.so"
    assert answer(build(product(), path)) == {"path": str(path)}
    found = answer(run(path, seed=0))
    x, w, y = found["arrays"][0]
    assert abs(y - (x @ w).clip(0)).max() < 1e-4
    assert answer(run(path, seed=1))["arrays"][0][0].min() >= 0.5  # of an odd seed positive ones
    timed = answer(run(path, rounds=2, seconds=1e-4))["times"]
    assert len(timed[0]) == 2
    assert min(timed[0]) > 0
    assert len(answer(run(path, rounds=2, seconds=1e-4, limit=1e-12))["times"][0]) == 1


def test_what_fails_is_an_answer(tmp_path: Path) -> None:
    needs_tvm()
    assert "KeyError" in answer({"do": "nothing"})["error"]
    assert answer({**build(product(), tmp_path / "f.so"), "module": "{"})["error"]
    assert answer({**build(product(), tmp_path / "f.so"), "link": ["false"]})["error"]
    assert answer(run(tmp_path / "missing.so", seed=0))["error"]


def test_the_end_of_stdin_ends_it_in_the_middle_of_an_endless_run(tmp_path: Path) -> None:
    needs_tvm()
    path = tmp_path / "f.so"
    assert "path" in answer(build(endless(), path))
    process = subprocess.Popen(
        [sys.executable, str(Path(worker.__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    send(process.stdin, {"do": "nothing"})
    assert "error" in receive(process.stdout)
    send(process.stdin, run(path, seed=0, arguments=[([4], "float32"), ([4], "float32")]))
    time.sleep(1.0)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(20) != 0
    process.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
