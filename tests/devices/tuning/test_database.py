"""The database of what was measured: lines that are added by many, torn by kills, and read by all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.devices.tuning.database import Database, Default, Trial, Verdict, digest

TRACE = [[["GetSBlock", [], ["y", "main"], ["b0"]]], []]
GOOD, FAILED = Trial(TRACE, (2e-6, 1e-6, 3e-6), 0.5), Trial(TRACE, None, 1.5)


def test_what_was_added_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "znver4.jsonl"
    first = Database(path)
    first.add("a", GOOD, FAILED)
    first.add("a", Default("d", 4e-6), Verdict("d", (digest(TRACE),), TRACE, 0.5))
    second = Database(path)
    assert second.trials == first.trials == {"a": [GOOD, FAILED]}
    assert second.default("a", "d") == 4e-6
    assert second.default("a", "other") is None
    assert second.verdict("a", "d", [digest(TRACE)]) == Verdict("d", (digest(TRACE),), TRACE, 0.5)
    assert second.verdict("a", "d", []) is None
    assert (GOOD.least, FAILED.least) == (1e-6, float("inf"))


def test_the_last_word_counts(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.jsonl")
    database.add("a", Default("d", 4e-6), Default("d", 3e-6), Verdict("d", ()), Verdict("d", (), None, 2.0, "slow"))
    assert database.default("a", "d") == 3e-6
    assert database.verdict("a", "d", ()) == Verdict("d", (), None, 2.0, "slow")


def test_a_torn_last_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    Database(path).add("a", GOOD, FAILED)
    whole = path.read_bytes()
    for end in range(len(whole) - 2, whole.index(b"\n") + 1, -7):
        path.write_bytes(whole[:end])
        torn = Database(path)
        assert torn.trials["a"] == [GOOD]
        torn.add("b", GOOD)
        assert Database(path).trials == {"a": [GOOD], "b": [GOOD]}


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "[]", "7", "null", '"x"', "{}", '{"kind": "trial", "task": "a"}', "\x00\x00", "[" * 100_000,
        '{"kind": "trial", "task": "a", "trace": [], "seconds": [-1], "spent": 0}',
        '{"kind": "trial", "task": "a", "trace": {}, "seconds": [1], "spent": 0}',
        '{"kind": "trial", "task": "a", "trace": [], "seconds": ["x"], "spent": 0}',
        '{"kind": "trial", "task": "a", "trace": [], "seconds": 3, "spent": 0}',
        '{"kind": "default", "task": "a", "default": "d", "seconds": Infinity}',
        '{"kind": "verdict", "task": "a", "default": "d", "among": 3, "trace": null, "ratio": 1, "reason": ""}',
        '{"kind": "other", "task": "a"}',
    ],
)  # fmt: skip
def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.jsonl"
    Database(path).add("a", GOOD)
    with path.open("a") as file:
        file.write(line + "\n")
    Database(path).add("a", FAILED)
    found = Database(path)
    assert found.trials == {"a": [GOOD, FAILED]}
    assert not found.defaults
    assert not found.verdicts


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    program = (
        "import sys; from pathlib import Path; from compressor.devices.tuning.database import Database, Trial\n"
        "database = Database(Path(sys.argv[1]))\n"
        "for i in range(60): database.add(sys.argv[2], Trial([['x' * 3000]], (1.0 + i,)), Trial(None, None))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = Database(path).trials
    for name in "ab":
        assert [trial.seconds for trial in found[name] if trial.seconds] == [(1.0 + i,) for i in range(60)]
    assert len(path.read_text().splitlines()) == 240
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_disk_that_refuses_costs_only_what_would_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(tmp_path / "file" / "x.jsonl")
    database.add("a", GOOD)
    assert database.trials == {"a": [GOOD]}
    assert database.path is None
    database.add("a", FAILED)
    assert len(database.trials["a"]) == 2


def test_without_a_path_nothing_is_kept() -> None:
    database = Database(None)
    database.add("a", GOOD)
    assert database.trials == {"a": [GOOD]}
