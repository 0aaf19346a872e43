"""The search: new schedules each time, which compute the same; earlier trials are where it starts from."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
from compiled import needs_tvm
from tuned import code, product, task, trace

from compressor.devices.tuning.database import Trial, digest
from compressor.devices.tuning.measuring import Timing
from compressor.devices.tuning.search import AT_A_TIME, Learner, Search
from compressor.errors import ExportError
from compressor.export.tuning.schedules import replayed


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()
    pytest.importorskip("xgboost")


def test_it_asks_for_new_schedules_each_time_and_learns() -> None:
    search = Search(task(), code(), Learner(), seed=0)
    seen: set[str] = set()
    for _ in range(2):
        found = search.candidates(6)
        assert 0 < len(found) <= 6
        digests = {digest(each.trace) for each in found}
        assert len(digests) == len(found)
        assert not digests & seen
        seen |= digests
        search.learn(found, [Timing((1e-5 * (i + 1),)) if i else Timing(fault="x") for i in range(len(found))])
    again = replayed(task().function, found[0].trace)
    assert again.script() == found[0].function.script()


def test_what_was_tried_before_is_not_tried_again() -> None:
    first = Search(task(), code(), Learner(), seed=0)
    tried = [Trial(each.trace, (1e-5,)) for each in first.candidates(AT_A_TIME)]
    second = Search(task(), code(), Learner(), seed=0)
    second.begin_with([*tried, Trial(None, None), Trial([[["Nonsense", [], [], []]], []], (1.0,))])
    assert second.begun
    known = {digest(each.trace) for each in tried}
    assert not {digest(each.trace) for each in second.candidates(AT_A_TIME)} & known


def test_a_search_may_end() -> None:
    search = Search(task("one", product(rows=1, inner=1, columns=1)), code(), Learner(), seed=0)
    for _ in range(40):
        found = search.candidates(AT_A_TIME)
        if not found:
            break
        search.learn(found, [Timing((1e-6,))] * len(found))
    else:
        pytest.fail("there are no such many schedules of one product")


def test_a_trace_of_a_hand_written_schedule_is_a_trial_like_others() -> None:
    search = Search(task(), code(), Learner(), seed=0)
    search.begin_with([Trial(trace(task().function), (1e-9,))])
    assert search.candidates(2)


def test_without_xgboost_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ExportError, match=r"edge-compressor\[tune\]"):
        Learner()


def test_a_version_that_would_end_the_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.1.15.post2")
    with pytest.raises(ExportError, match=r"MetaSchedule crashes with apache-tvm-ffi 0\.1\.15\.post2"):
        Learner()
