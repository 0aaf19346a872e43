"""Whether a schedule that was found counts: it computes the same, and it is faster than the default one right there.

    right    its results on random inputs are within the tolerance of sums in another order (`export/agreement.py`)
    faster   least and median seconds below the default schedule's, both timed in turn on one board

What was measured while searching decides only which few are looked at: times of different minutes are no comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from compressor.devices.tuning.database import Trial, Verdict, digest
from compressor.devices.tuning.measuring import Arrays, Bench
from compressor.export.agreement import FP16, FP32, distance
from compressor.export.tuning.schedules import replayed
from compressor.export.tuning.tasks import Task, key_of

__all__ = ["finalists", "judged"]

_SEEDS = (0, 1)  # values around zero, and positive ones


def finalists(trials: Sequence[Trial], count: int = 3) -> list[Trial]:
    """The fastest of what was measured."""
    known = {digest(trial.trace): trial for trial in reversed(trials) if trial.trace is not None and trial.seconds}
    return sorted(known.values(), key=lambda trial: trial.least)[:count]


def judged(task: Task, default: Any, trials: Sequence[Trial], bench: Bench) -> Verdict:
    """Which of the schedules takes the place of `default`, the task's function in the default schedule."""
    among = tuple(digest(trial.trace) for trial in trials)
    stays = Verdict(key_of(default), among)
    right, faults = _right(task, trials, bench)
    if not right:
        return _because(stays, "; ".join(dict.fromkeys(faults)) or "nothing was found")
    functions = [default, *(function for _, function in right)]
    first, *others = bench.side_by_side(functions)
    if first.fault:
        return _because(stays, f"the default schedule cannot be timed: {first.fault}")
    best = min(range(len(others)), key=lambda index: others[index].median)
    if not (others[best].least < first.least and others[best].median < first.median):
        ratio = min(others[best].median / first.median, 1e9)
        return Verdict(stays.default, among, None, ratio, "not faster than the default schedule")
    return Verdict(stays.default, among, right[best][0].trace, others[best].median / first.median)


def _right(task: Task, trials: Sequence[Trial], bench: Bench) -> tuple[list[tuple[Trial, Any]], list[str]]:
    """Those that compute what the textbook's loops do, with their functions, and what is wrong with the others."""
    found, faults = [], []
    for trial in trials:
        try:
            found.append((trial, replayed(task.function, trial.trace)))
        except ValueError as error:
            faults.append(str(error))
    for seed in _SEEDS:
        expected, *results = bench.arrays([task.function, *(function for _, function in found)], seed)
        if isinstance(expected, str):
            return [], [f"it cannot be run unscheduled: {expected}"]
        wrong = [_fault(result, expected) for result in results]
        faults += [fault for fault in wrong if fault]
        found = [each for each, fault in zip(found, wrong, strict=True) if not fault]
    return found, faults


def _fault(result: Arrays | str, expected: Arrays) -> str:
    if isinstance(result, str):
        return result
    tolerance = FP16 if any(array.dtype.itemsize < 4 for array in expected) else FP32
    pairs = zip(result, expected, strict=True)
    error = max(distance(torch.from_numpy(ours), torch.from_numpy(theirs)).relative_rms for ours, theirs in pairs)
    return "" if error <= tolerance.relative_rms else f"its results are off by {error:.1e}"


def _because(verdict: Verdict, reason: str) -> Verdict:
    return Verdict(verdict.default, verdict.among, None, 1.0, reason[:300])
