"""Which task is next: what takes long and gains, not what has shown that it gains nothing."""

from __future__ import annotations

import math

import pytest

from compressor.devices.tuning.scheduler import History, next_task


def test_first_what_takes_the_most_of_a_run() -> None:
    assert next_task([History(1, 3e-3), History(4, 1e-3), History(1, 2e-3)]) == 1


def test_gain_is_what_it_gained_lately_and_may_still_gain() -> None:
    history = History(2, 8.0)
    assert history.gain == 16.0
    for seconds in (6.0, 7.0, 3.0, math.inf):
        history.add(seconds)
    assert history.bests == [6.0, 6.0, 3.0, 3.0]
    assert history.best == 3.0
    assert history.gain == pytest.approx(2 * (0.2 * (6.0 - 3.0) / 3 + 0.8 * 3.0 / 4))


def test_all_get_their_turns_and_the_largest_the_most() -> None:
    histories = [History(1, 10.0), History(1, 1.0), History(1, 0.1)]
    turns = [0, 0, 0]
    for _ in range(200):
        index = next_task(histories)
        assert index is not None
        turns[index] += 1
        histories[index].add(histories[index].default)
    assert turns[0] > turns[1] > turns[2] > 0


def test_what_is_over_is_left_alone() -> None:
    assert next_task([History(1, 1.0, over=True), History(1, 0.1)]) == 1
    assert next_task([History(1, 1.0, over=True)]) is None
    assert next_task([]) is None
