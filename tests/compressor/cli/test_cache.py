"""`compress cache` shows and clears."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.cache import Cache
from compressor.cli.main import run


def test_show_and_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Cache(tmp_path).store("k", lambda folder: (folder / "x").write_bytes(b"abc") and None)
    assert run(["cache", "--cache-dir", str(tmp_path)]) == 0
    assert "1 stages" in capsys.readouterr().out
    assert run(["cache", "--cache-dir", str(tmp_path), "clear"]) == 0
    assert "removed 1 stages" in capsys.readouterr().out
    assert Cache(tmp_path).size() == (0, 0)
