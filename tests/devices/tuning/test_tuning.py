"""Tuning under a budget: it goes on after a kill, costs nothing again, and applies only what is right and fast."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from compiled import needs_tvm
from loopback_rpc import board
from tuned import code, product, task, wrong

from compressor.devices.tuning import tuning
from compressor.devices.tuning.boards import Here, open_boards
from compressor.devices.tuning.database import Database, Trial
from compressor.devices.tuning.tuning import Budget, Spent, Tuned, tune
from compressor.errors import DeviceError
from compressor.export.tuning.tasks import Task
from compressor.graph.contract import Progress


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()
    pytest.importorskip("xgboost")


def tasks() -> list[Task]:
    first, second = task(), task("other", product(rows=3))
    return [Task("product", first.key, first.function, 2), second]


def tuned(path: Path | None, folder: Path, trials: int, progress: Progress | None = None) -> Tuned:
    return tune(tasks(), lambda each: each, code(), Here(), Database(path), Budget(trials), folder, progress=progress)


def test_budgets() -> None:
    assert Budget(10).left(Spent(9, 1e9))
    assert not Budget(10).left(Spent(10))
    assert not Budget(seconds=5).left(Spent(1, 5.0))
    assert Budget(10).share(Spent(5, 100.0)) == 0.5
    assert Budget(seconds=10).share(Spent(5, 20.0)) == 1.0


class Told(Progress):
    def __init__(self) -> None:
        self.shares: list[float] = []
        self.names: list[list[str]] = []

    def figures(self, what: str, done: float, figures: Any) -> None:
        self.shares.append(done)
        self.names.append(list(figures))


def test_a_run_its_repetition_and_a_larger_one(tmp_path: Path) -> None:
    path, progress = tmp_path / "db.jsonl", Told()
    first = tuned(path, tmp_path, 20, progress)
    assert (first.spent.trials, first.spent.fresh) == (20, 20)
    assert progress.shares == sorted(progress.shares)
    assert progress.shares[-1] == 1.0
    assert all(names[1:] == ["before", "all ms", "trials"] for names in progress.names)
    assert set(first.verdicts) == {"product", "other"}
    assert set(first.traces) == {each.key for each in tasks() if first.verdicts[each.name].trace is not None}
    assert 0 < first.after <= first.before
    size = path.stat().st_size
    again = tuned(path, tmp_path, 20)
    assert (again.spent.trials, again.spent.fresh) == (20, 0)
    assert (again.traces, again.verdicts) == (first.traces, first.verdicts)
    assert path.stat().st_size == size  # nothing was measured, nothing judged
    other = tune(tasks()[:1], lambda each: each, code(), Here(), Database(path), Budget(8), tmp_path)
    assert other.spent.fresh == 0  # of another network with the same function
    assert other.traces.keys() <= {task().key}


def test_a_kill_in_the_middle_costs_what_was_under_way(tmp_path: Path) -> None:
    path = tmp_path / "db.jsonl"
    program = (
        "import sys; sys.path.insert(0, 'tests'); sys.path.insert(0, 'tests/devices/tuning')\n"
        "from pathlib import Path; from test_tuning import tuned\n"
        "tuned(Path(sys.argv[1]), Path(sys.argv[2]), 400)\n"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, str(path), str(tmp_path)])
    deadline = time.monotonic() + 120
    while len(Database(path).trials.get(task().key, [])) < 16 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.wait()
    kept = sum(len(each) for each in Database(path).trials.values())
    assert kept >= 16
    with path.open("ab") as file:
        file.write(b'{"kind": "trial", "task": "')  # as a kill within a write leaves it
    found = tuned(path, tmp_path, kept + 4)
    assert (found.spent.trials, found.spent.fresh) == (kept + 4, 4)
    assert sum(len(each) for each in Database(path).trials.values()) == kept + 4


def test_a_wrong_schedule_in_the_database_is_never_applied(tmp_path: Path) -> None:
    path = tmp_path / "db.jsonl"
    Database(path).add(task().key, *[Trial(wrong(task().function), (1e-12,), 0.1)] * 16)
    found = tuned(path, tmp_path, 16)
    assert found.spent.fresh == 0
    assert found.traces == {}
    assert "off by" in found.verdicts["product"].reason
    assert found.verdicts["other"].reason == "nothing was tried"
    assert found.after == found.before


def test_a_board_is_tuned_on(tmp_path: Path) -> None:
    database = Database(tmp_path / "db.jsonl")
    with board() as server, open_boards(server.url) as boards:
        found = tune(tasks()[:1], lambda each: each, code(), boards, database, Budget(4), tmp_path)
    assert found.spent.fresh == 4
    assert any(trial.seconds for trial in database.trials[task().key])


def test_minutes_are_a_budget_too(tmp_path: Path) -> None:
    database = Database(None)
    database.add(task().key, *[Trial([[], []], (1.0,), 10.0)] * 32)
    budget = Budget(seconds=150.0)
    found = tune(tasks()[:1], lambda each: each, code(), Here(), database, budget, tmp_path)
    assert (found.spent.trials, found.spent.seconds, found.spent.fresh) == (16, 160.0, 0)


def test_where_nothing_can_be_timed_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "Learner", lambda: None)
    made = code()
    broken = type(made)(made.llvm, ("false",), 1)
    with pytest.raises(DeviceError, match="nothing can be timed: not built"):
        tune(tasks(), lambda each: each, broken, Here(), Database(None), Budget(4), tmp_path)
    assert math.isinf(Budget().trials)
