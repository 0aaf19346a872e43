"""A schedule counts where it computes the same and is faster in the same window; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from compiled import needs_tvm
from tuned import bench, code, task, trace, wrong

from compressor.devices.tuning.boards import Here
from compressor.devices.tuning.database import Trial, digest
from compressor.devices.tuning.judging import finalists, judged
from compressor.devices.tuning.measuring import Bench, Timing
from compressor.export.tuning.tasks import key_of


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


class Told(Bench):
    """A bench that computes, and is told the times: the default's, then those of the schedules that are right."""

    told: tuple[float, ...] = ()

    def __call__(self, *seconds: float) -> Told:
        self.told = seconds
        return self

    def side_by_side(self, functions: Sequence[Any], *, rounds: int = 15, least: float = 0.005) -> list[Timing]:
        assert len(functions) == len(self.told)
        return [Timing((seconds, seconds)) if seconds else Timing(fault="crashed") for seconds in self.told]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    needs_tvm()
    with Told(code(), Here(), tmp_path_factory.mktemp("bench")) as timed:
        yield timed


GOOD, OTHER = trace(task().function), trace(task().function, lanes=4)
WRONG = wrong(task().function)
NONSENSE = [[["Nonsense", [], [], []]], []]


def trials(*traces: Any) -> list[Trial]:
    return [Trial(each, (1e-9,)) for each in traces]


def test_finalists_are_the_fastest_each_once() -> None:
    measured = [
        Trial(GOOD, (3.0,)), Trial(OTHER, (2.0,)), Trial(GOOD, (3.0,)), Trial(WRONG, None), Trial(None, (1.0,)),
        Trial(NONSENSE, (1.0,)),
    ]  # fmt: skip
    assert [each.trace for each in finalists(measured)] == [NONSENSE, OTHER, GOOD]
    assert [each.trace for each in finalists(measured, 1)] == [NONSENSE]
    assert finalists([]) == []


def test_the_fastest_that_is_right_counts(told: Told) -> None:
    found = judged(task(), task().function, trials(GOOD, OTHER), told(4.0, 3.0, 2.0))
    assert (found.trace, found.ratio) == (OTHER, 0.5)
    assert found.among == (digest(GOOD), digest(OTHER))
    assert found.default == key_of(task().function)


def test_a_schedule_that_computes_something_else_is_refused_however_fast(told: Told) -> None:
    assert judged(task(), task().function, trials(WRONG, NONSENSE, GOOD), told(4.0, 3.0)).trace == GOOD
    found = judged(task(), task().function, trials(WRONG), told())
    assert found.trace is None
    assert found.reason.startswith("its results are off by")


def test_a_slower_one_is_not_applied(told: Told) -> None:
    found = judged(task(), task().function, trials(GOOD), told(4.0, 4.0))
    assert (found.trace, found.ratio) == (None, 1.0)
    assert "not faster" in found.reason
    assert judged(task(), task().function, trials(GOOD), told(4.0, 8.0)).ratio == 2.0


def test_where_nothing_can_be_timed_the_default_stays(told: Told) -> None:
    found = judged(task(), task().function, trials(GOOD), told(0, 2.0))
    assert found.trace is None
    assert "crashed" in found.reason


def test_on_a_real_bench(tmp_path: Path) -> None:
    with bench(tmp_path) as timed:
        found = judged(task(), task().function, trials(GOOD, WRONG), timed)
    assert found.trace in (GOOD, None)
    assert found.ratio > 0
