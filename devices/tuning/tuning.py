"""A network's schedules under a budget: tasks are searched in turn, the best are judged, and all is kept as it comes.

    default schedules timed ─▶ { task with the largest gain ─▶ some schedules ─▶ times }* ─▶ judged ─▶ traces that count

The budget is of trials or of minutes for these tasks, whenever they were spent: what an earlier run measured, for this
network or another, is gone through again in no time, so that the same command after a kill goes on where it was, and
after its end finds the same schedules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.devices.tuning.boards import Boards
from compressor.devices.tuning.database import Database, Default, Trial, Verdict, digest
from compressor.devices.tuning.judging import finalists, judged
from compressor.devices.tuning.measuring import Bench, Code, Timing
from compressor.devices.tuning.scheduler import History, next_task
from compressor.devices.tuning.search import AT_A_TIME, Candidate, Learner, Search
from compressor.errors import DeviceError
from compressor.export.tuning.tasks import Task, key_of
from compressor.graph.contract import Progress

__all__ = ["Budget", "Tuned", "tune"]

_SLOW = 5.0  # times the task's best: a trial's first run that takes longer is its only one
_NOISE = 1e-3  # seconds that a first run may take whatever comes


@dataclass(frozen=True)
class Budget:
    """What the tasks may take in all: trials, or seconds of trying. Infinite where it is not bounded."""

    trials: float = math.inf
    seconds: float = math.inf

    def left(self, spent: Spent) -> bool:
        return spent.trials < self.trials and spent.seconds < self.seconds

    def share(self, spent: Spent) -> float:
        """Of it that is spent."""
        return min(1.0, max(spent.trials / self.trials, spent.seconds / self.seconds))


@dataclass
class Spent:
    """Trials and seconds that the tasks have taken, earlier runs' among them; `fresh` trials are this run's."""

    trials: int = 0
    seconds: float = 0.0
    fresh: int = 0


@dataclass(frozen=True)
class Tuned:
    """What came of it: traces that count by their tasks' keys, verdicts by tasks' names, and seconds a run of all tasks
    in the default schedules (as they were timed) and with what was found."""

    traces: Mapping[str, Any]
    verdicts: Mapping[str, Verdict]
    spent: Spent
    before: float = 0.0
    after: float = 0.0


@dataclass
class _Subject:
    """A task with its default schedule, its history and its search; `replayed` trials of the database are behind."""

    task: Task
    default: Any
    history: History
    search: Search
    replayed: int = 0


def tune(
    tasks: Sequence[Task], default: Callable[[Any], Any], code: Code, boards: Boards, database: Database,
    budget: Budget, folder: Path, *, seed: int = 0, progress: Progress | None = None,
) -> Tuned:  # fmt: skip
    """Search and judge. `default` gives a function in its default schedule; `folder` takes libraries while it runs.

    Raises DeviceError where the default schedules cannot be timed, or no board is free.
    """
    progress, spent = progress or Progress(), Spent()
    with Bench(code, boards, folder) as bench:
        subjects = _subjects(tasks, default, code, database, bench, seed)
        while budget.left(spent) and (index := next_task([each.history for each in subjects])) is not None:
            count = int(min(AT_A_TIME, budget.trials - spent.trials))
            _round(subjects[index], count, spent, database, bench)
            _tell(progress, subjects, index, budget, spent)
        verdicts = [_verdict(each, database, bench, progress) for each in subjects]
    return _result(subjects, verdicts, spent)


def _subjects(
    tasks: Sequence[Task], default: Callable[[Any], Any], code: Code, database: Database, bench: Bench, seed: int
) -> list[_Subject]:
    defaults = [default(task.function) for task in tasks]
    unknown = [
        (task, each) for task, each in zip(tasks, defaults, strict=True)
        if database.default(task.key, key_of(each)) is None
    ]  # fmt: skip
    timings = bench.seconds([each for _, each in unknown])
    for (task, each), timing in zip(unknown, timings, strict=True):
        if timing.times:
            database.add(task.key, Default(key_of(each), timing.least))
    if timings and not any(timing.times for timing in timings):
        raise DeviceError(f"nothing can be timed: {timings[0].fault}", where="--tune")
    learner = Learner()
    subjects = []
    for task, each in zip(tasks, defaults, strict=True):
        seconds = database.default(task.key, key_of(each))
        history = History(task.weight, seconds or math.inf, over=seconds is None)
        search = Search(task, code, learner, seed)
        subjects.append(_Subject(task, each, history, search))
    return subjects


def _round(subject: _Subject, count: int, spent: Spent, database: Database, bench: Bench) -> None:
    """The next trials of a task: those that an earlier run has measured, else new ones."""
    known = database.trials.get(subject.task.key, [])[subject.replayed :][:count]
    trials = known or _tried(subject, count, database, bench)
    subject.replayed += len(trials)
    spent.trials += len(trials)
    spent.seconds += sum(trial.spent for trial in trials)
    spent.fresh += 0 if known else len(trials)
    subject.history.add(min((trial.least for trial in trials), default=math.inf))
    subject.history.over = not trials


def _tried(subject: _Subject, count: int, database: Database, bench: Bench) -> list[Trial]:
    """New trials, kept."""
    started, search = time.monotonic(), subject.search
    if not search.begun:
        search.begin_with(database.trials.get(subject.task.key, []))
    candidates = search.candidates(count)
    limit = max(_SLOW * subject.history.best, _NOISE)
    timings = bench.seconds([each.function for each in candidates], limit=limit)
    search.learn(candidates, timings)
    took = (time.monotonic() - started) / max(1, len(candidates))
    trials = [_trial(*pair, took) for pair in zip(candidates, timings, strict=True)]
    database.add(subject.task.key, *trials)
    return trials


def _trial(candidate: Candidate, timing: Timing, took: float) -> Trial:
    return Trial(candidate.trace, timing.times or None, took)


def _tell(progress: Progress, subjects: Sequence[_Subject], index: int, budget: Budget, spent: Spent) -> None:
    task, history = subjects[index].task, subjects[index].history
    total = sum(each.history.weight * each.history.best for each in subjects)
    figures = {
        f"{task.name} µs": 1e6 * history.best, "before": 1e6 * history.default, "all ms": 1e3 * total,
        "trials": float(spent.trials),
    }  # fmt: skip
    progress.figures("tuning", budget.share(spent), figures)


def _verdict(subject: _Subject, database: Database, bench: Bench, progress: Progress) -> Verdict:
    """What was said about the task's fastest schedules, or is found now."""
    task, best = subject.task, finalists(database.trials.get(subject.task.key, []))
    if not best:
        return Verdict(key_of(subject.default), (), None, 1.0, "nothing was tried")
    said = database.verdict(task.key, key_of(subject.default), [digest(trial.trace) for trial in best])
    if said is None:
        progress.say(f"verifying {task.name}")
        said = judged(task, subject.default, best, bench)
        database.add(task.key, said)
    return said


def _result(subjects: Sequence[_Subject], verdicts: Sequence[Verdict], spent: Spent) -> Tuned:
    pairs = [(each, verdict) for each, verdict in zip(subjects, verdicts, strict=True)]
    before = [each.task.weight * each.history.default for each in subjects]
    ratios = [1.0 if verdict.trace is None else verdict.ratio for verdict in verdicts]
    timed = [(seconds, ratio) for seconds, ratio in zip(before, ratios, strict=True) if math.isfinite(seconds)]
    return Tuned(
        {each.task.key: verdict.trace for each, verdict in pairs if verdict.trace is not None},
        {each.task.name: verdict for each, verdict in pairs},
        spent,
        sum(seconds for seconds, _ in timed),
        sum(seconds * ratio for seconds, ratio in timed),
    )
