"""What was kept is found again, whatever cut the last run off."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from compressor.devices.journal import FOLDER, MAX_AGE, Journal

ROUND = {"event": "round", "index": 0, "clock_mhz": None, "blocks": {}}


def test_events_are_found_again_by_name_and_job(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.jsonl"
    first = Journal(path)
    assert not first.resumed
    first.add({"event": "golden", "id": "0", "errors": {"y": 1e-5}})
    first.add(ROUND)
    first.add({"event": "golden", "id": "0", "errors": {"y": 2e-5}})
    again = Journal(path)
    assert again.resumed
    assert again.events == first.events
    assert again.by_id("golden")["0"]["errors"] == {"y": 2e-5}
    assert len(again.named("round")) == 1


def test_half_a_line_at_the_end_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"event": "a"}\n{"event": "b", "ind')
    journal = Journal(path)
    assert journal.events == [{"event": "a"}]
    journal.add({"event": "c"})
    assert Journal(path).events == [{"event": "a"}, {"event": "c"}]


@pytest.mark.parametrize(
    "line",
    ['{"event": "round", "index": 1}', '{"event": "folder", "path": "/tmp/compress-1"}', "[]", "[" * 100_000, ""],
)
def test_all_from_a_damaged_line_on_is_dropped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(f'{{"event": "a"}}\n{line}\n{{"event": "b"}}\n')
    assert Journal(path).events == [{"event": "a"}]


def test_what_is_no_journal_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\xff\xfe[1]\n")
    assert Journal(path).events == []


def test_one_of_another_day_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Journal(path).add({"event": "a"})
    old = time.time() - MAX_AGE - 60
    os.utime(path, (old, old))
    assert not Journal(path).resumed


def test_a_finished_run_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    journal.add({"event": "a"})
    journal.remove()
    assert list(tmp_path.iterdir()) == []
    journal.remove()


def test_a_disk_that_refuses_costs_only_the_way_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run.jsonl", None):
        journal = Journal(path)
        journal.add({"event": "a"})
        journal.add({"event": "b"})
        assert [event["event"] for event in journal.events] == ["a", "b"]
        assert journal.path is None


def test_a_folder_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    journal.add({"event": FOLDER, "path": "/tmp/compress-1", "process": 1})
    assert not journal.begun
    again = Journal(tmp_path / "run.jsonl")
    assert not again.resumed
    assert [event["path"] for event in again.named(FOLDER)] == ["/tmp/compress-1"]
    again.add(ROUND)
    assert Journal(tmp_path / "run.jsonl").resumed
