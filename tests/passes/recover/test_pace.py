"""How budgets are counted down, on a clock that tests turn by hand."""

from __future__ import annotations

import pytest

from compressor.passes.recover.budget import parse_budget
from compressor.passes.recover.pace import Pace, check_marks, rate


class Hand:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_steps_and_epochs_do_not_look_at_the_clock() -> None:
    pace = Pace(parse_budget("2epochs"), 5, Hand())
    assert [pace.at(step) for step in (0, 5, 9, 10)] == [0.0, 0.5, 0.9, None]
    assert pace.written(10) == ""


def test_time_ends_before_a_step_that_would_not_fit() -> None:
    clock = Hand()
    pace, step = Pace(parse_budget("100s"), 5, clock), 0
    while pace.at(step, reserve=10) is not None:
        pace.begin()
        clock.now += 7
        pace.end()
        step += 1
    assert clock.now + 10 <= 100 < clock.now + 10 + 2 * 7


def test_the_marks_replay_the_fractions_of_a_timed_run() -> None:
    clock = Hand()
    pace, seen = Pace(parse_budget("100s"), 5, clock), []
    while (fraction := pace.at(len(seen))) is not None:
        seen.append(fraction)
        pace.begin()
        clock.now += 3 if len(seen) < 10 else 11
        pace.end()
    pace.spread(5.0, 1.0)
    again = Pace(parse_budget("100s"), 5, Hand(), pace.written(len(seen)))
    assert again.every == pace.every == 5
    assert [again.at(step) for step in range(len(seen) + 1)] == [*seen, None]


def test_time_spent_before_an_interruption_counts() -> None:
    clock = Hand()
    pace = Pace(parse_budget("100s"), 5, clock)
    pace.spent = 60.0
    clock.now = 15.0
    assert pace.elapsed == 75
    assert pace.at(0) == 0.75


@pytest.mark.parametrize(("steps", "batches", "times"), [(1000, 8, 20), (100, 4, 10), (40, 8, 4), (3, 8, 3)])
def test_judging_takes_a_tenth_of_the_work_of_training(steps: int, batches: float, times: int) -> None:
    pace = Pace(parse_budget(f"{steps}steps"), 5, Hand())
    pace.spread(99.0, batches)
    assert sum(pace.due(step, 0.0) for step in range(1, steps + 1)) == times


@pytest.mark.parametrize(("seconds", "every"), [(0.4, 1), (1.0, 2), (5.0, 5)])
def test_judging_takes_a_tenth_of_the_time(seconds: float, every: int) -> None:
    pace = Pace(parse_budget("100s"), 5, Hand())
    pace.spread(seconds, 1.0)
    fractions = [step // 10 / 20 for step in range(200)]
    due = [step for step, fraction in enumerate(fractions, 1) if pace.due(step, fraction)]
    assert due == list(range(10 * every + 1, 201, 10 * every))


def test_the_rate_rises_then_falls_to_a_floor() -> None:
    rates = [rate(step / 400, step, 400) for step in range(400)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.02, abs=0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rate(0.0, 0, 1) == 1.0, "a single step is taken at full rate"


@pytest.mark.parametrize("text", ["3 2", "x", "-1 4", "3 4 /0", "3 /x", " ".join(map(str, range(30)))])
def test_marks_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        check_marks(text)


def test_marks_that_do() -> None:
    assert check_marks("") == []
    assert check_marks("1 1 5") == [1, 1, 5]
    assert check_marks("1 1 5 /4") == [1, 1, 5]
