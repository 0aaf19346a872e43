"""A run's folder goes with it; those of killed runs go with the next."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from compressor.workplace import workplace


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_goes_at_the_end_even_of_a_failure(tmp_path: Path) -> None:
    def fail() -> None:
        with workplace() as folder:
            (folder / "model.onnx").write_bytes(b"1")
            assert folder.parent == tmp_path
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked for there")
def test_only_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"compress-{dead.pid}-abc", f"compress-{os.getpid()}-abc", "compress-notes-abc", f"compress-{dead.pid}"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"1")
    with workplace():
        assert [name for name in names if (tmp_path / name).exists()] == names[1:]
