"""Rounds go through all functions in turn, until each has had enough."""

from __future__ import annotations

import time

import numpy as np
import pytest

from compressor.devices.runner import timing
from compressor.devices.runner.timing import Subject, interleave, thinned


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.0)
    return []


def subjects(order: list[str], *names: str) -> dict[str, Subject]:
    return {name: Subject(lambda name=name: order.append(name)) for name in names}  # type: ignore[misc]


def test_the_order_is_reversed_after_each_round(order: list[str]) -> None:
    rounds = list(interleave(subjects(order, "a", "b"), min_runs=3, min_seconds=0))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert all(set(times) == {"a", "b"} for times in rounds)


def test_one_that_has_had_enough_leaves_and_one_that_goes_on_keeps_what_it_had(order: list[str]) -> None:
    made = subjects(order, "a", "b")
    made["a"].runs = 4
    rounds = list(interleave(made, min_runs=5, min_seconds=0))
    assert [set(times) for times in rounds] == [{"a", "b"}, *[{"b"}] * 4]
    assert list(interleave(made, min_runs=5, min_seconds=0)) == []


def test_seconds_are_waited_for_as_well(order: list[str]) -> None:
    made = {"a": Subject(lambda: time.sleep(0.001))}
    list(interleave(made, min_runs=1, min_seconds=0.01))
    assert made["a"].seconds >= 0.01
    assert made["a"].runs > 1


def test_rounds_are_waited_for_as_well(order: list[str]) -> None:
    made = {"a": Subject(lambda: order.append("a"), runs=9, seconds=9.0, rounds=1)}
    assert len(list(interleave(made, min_runs=3, min_seconds=0, min_rounds=6))) == 5
    assert made["a"].rounds == 6


def test_a_deadline_ends_it_once_all_have_run(order: list[str]) -> None:
    made = subjects(order, "a", "b")
    assert len(list(interleave(made, min_runs=10**9, min_seconds=0, deadline=time.perf_counter()))) == 1


def test_the_first_of_several_runs_is_left_out_of_a_block() -> None:
    calls: list[int] = []
    subject = Subject(lambda: calls.append(0))
    assert len(subject.block()) == subject.runs == len(calls) - 1
    assert subject.seconds > 0


def test_warming_up_counts_for_nothing() -> None:
    calls: list[int] = []
    subject = Subject(lambda: calls.append(0))
    subject.warm_up(0.001)
    assert calls
    assert (subject.runs, subject.seconds) == (0, 0.0)


def test_thinning_keeps_quantiles() -> None:
    times = list(np.random.default_rng(0).lognormal(0, 1, 5000))
    kept = thinned(times, 256)
    assert len(kept) == 256
    assert set(kept) <= set(times)
    for rank in (1, 50, 90, 99):
        share = np.mean(np.array(times) <= np.percentile(kept, rank))
        assert share == pytest.approx(rank / 100, abs=1 / 256)
    assert thinned([3.0, 1.0, 2.0]) == [1.0, 2.0, 3.0]
