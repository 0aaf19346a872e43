"""`python -m compressor` is the `compress` program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def _run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compressor", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_module_runs_the_program(tmp_path: Path) -> None:
    done = _run("--version", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.strip()


def test_errors_keep_their_exit_code_and_show_no_traceback(tmp_path: Path) -> None:
    done = _run("targets", "jetsno", folder=tmp_path)
    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_it_runs_nothing() -> None:
    command = [sys.executable, "-c", "import compressor.__main__"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
