"""Counts are read as the emulator writes them: a number that was appended since, and nothing else."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from compressor.devices.runner.counting import COUNTS, NotCountedError, counted, stop_clock


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(COUNTS, str(tmp_path / "counts"))
    return tmp_path / "counts"


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="ascii") as file:
        file.write(text)


def test_the_line_that_was_appended_is_the_count(counts: Path) -> None:
    _append(counts, "7\n8\n")  # of models before
    assert counted(lambda: _append(counts, "1234567\n"), 1) == 1234567


def test_so_many_runs_are_made_without_collections(counts: Path) -> None:
    made = []

    def run() -> None:
        made.append(gc.isenabled())
        if len(made) == 3:
            _append(counts, "30\n")

    assert counted(run, 3) == 30
    assert made == [False] * 3
    assert gc.isenabled()


@pytest.mark.parametrize("text", ["", "12\n13\n", "none\n", "-4\n"])
def test_what_is_no_single_count_is_none(counts: Path, text: str) -> None:
    with pytest.raises(NotCountedError, match="no count"):
        counted(lambda: _append(counts, text), 1)


def test_where_no_file_is_named_or_written_nothing_counts(counts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotCountedError, match="no count"):
        counted(lambda: None, 1)  # a real kernel: the mark is refused, and no line appears
    monkeypatch.delenv(COUNTS)
    with pytest.raises(NotCountedError, match=COUNTS):
        counted(lambda: None, 1)


def test_a_run_that_fails_leaves_collections_on(counts: Path) -> None:
    def run() -> None:
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        counted(run, 1)
    assert gc.isenabled()


def test_no_real_clock_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COUNTS, raising=False)
    stop_clock()
    start = time.perf_counter()
    time.sleep(0.001)
    assert time.perf_counter() > start
