"""The limits hold: once confined, a process writes no file and truncates none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")

CONFINED = """
import sys
from compressor.load.worker import confine
confine({"cpu_seconds": 60, "memory_bytes": 1 << 30})
"""


def confined(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "-c", CONFINED + code, *arguments], capture_output=True, text=True, check=False
    )


def test_no_file_is_written(tmp_path: Path) -> None:
    result = confined("open(sys.argv[1], 'w').write('x' * 10)", str(tmp_path / "new"))
    assert result.returncode != 0
    assert not (tmp_path / "new").exists() or (tmp_path / "new").read_text() == ""


def test_no_file_is_truncated_or_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("precious")
    landlock = confined("import os; print(os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC))", str(kept))
    if landlock.returncode == 0:
        pytest.skip("this kernel has no Landlock")
    confined("import os; os.remove(sys.argv[1])", str(kept))
    assert kept.read_text() == "precious"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds address space")
def test_memory_is_bounded() -> None:
    result = confined("bytearray(4 << 30)")
    assert "MemoryError" in result.stderr


def test_reading_and_pipes_still_work(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    assert confined("print(open(sys.argv[1]).read())", str(tmp_path / "a")).stdout == "text\n"
