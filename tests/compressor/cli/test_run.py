"""Progress goes to stderr and the result to stdout; a killed run leaves nothing half done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from compressor.cli.main import run


def test_stdout_has_the_report_and_stderr_the_progress(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(digits / "model.pt"), "--target", "web-wasm", "--passes", "fold", "--out", str(tmp_path / "o")]
    assert run(arguments) == 0
    told = capfd.readouterr()
    assert "lowering" in told.err
    assert "lowering" not in told.out
    assert "synthetic" in told.out


@pytest.mark.parametrize("waits_for", ["quantize", pytest.param("writing", marks=pytest.mark.slow)])
def test_kill_9_leaves_no_half_artifact_and_loses_no_finished_stage(
    digits: Path, tmp_path: Path, waits_for: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    arguments = [
        str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm", "--out", str(out),
        "--cache-dir", str(cache), "--json",
    ]  # fmt: skip
    command = [sys.executable, "-m", "compressor", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if waits_for in line:
                time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
    assert not out.exists() or (out / "manifest.json").is_file()
    finished = [entry for entry in cache.iterdir() if not entry.name.startswith(".")]
    assert finished, "fold had finished before"
    out.rename(tmp_path / "won") if out.exists() else None
    capfd.readouterr()
    assert run(arguments) == 0
    assert json.loads(capfd.readouterr().out)["bundle"] == str(out)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("out", "cache", "won")]


KILLED = """
    import os, signal, sys
    from compressor.cli.main import run
    from compressor.passes.recover import session

    write, written = session.write_checkpoint, []

    def killed(*args):
        write(*args)
        written.append(args)
        if len(written) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    session.write_checkpoint = killed
    session.WRITING = 0.0  # after every step
    run(sys.argv[1:])
"""


def test_kill_9_in_the_middle_of_training_bits_changes_nothing(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same command again goes on, and makes the very model of a run that was not killed."""

    def arguments(name: str) -> list[str]:
        return [
            str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm", "--threads", "1",
            "--passes", "fold,int4:block=32:train=5steps", "--max-drop", "100%", "--out", str(tmp_path / name),
            "--cache-dir", str(tmp_path / f"{name}-cache"),
        ]  # fmt: skip

    killed = [sys.executable, "-c", textwrap.dedent(KILLED), *arguments("killed")]
    assert subprocess.run(killed, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    capfd.readouterr()
    assert run(arguments("killed")) == 0
    assert "continues after step 3" in capfd.readouterr().err
    assert run(arguments("whole")) == 0
    assert "continues after step" not in capfd.readouterr().err
    [killed_model, model] = [(tmp_path / name / "model.onnx").read_bytes() for name in ("killed", "whole")]
    assert killed_model == model


def test_a_runtime_that_does_not_serve_the_board_is_refused(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(digits / "model.pt"), "--out", str(tmp_path / "out"), "--target", "iphone"]
    assert run([*arguments, "--runtime", "tvm"]) == 2
    assert "code for on iphone: its file has no [compiler]" in capsys.readouterr().err
    assert run([*arguments, "--runtime", "ncnn"]) == 2
    assert "'onnx', 'tvm'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
