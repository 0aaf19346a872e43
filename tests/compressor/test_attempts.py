"""What is tried next, by what was measured of what was tried."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.attempts import Attempt, corrected
from compressor.held import Held
from compressor.plan.parts import Parts
from compressor.plan.problem import Axis


def _attempt(
    damage: float, *, fell: bool = False, allowed: float = 1.0, over: float = 0.0, short: float = 0.0, ms: float = 4.0
) -> Any:
    """A plan of so many ms (`short`: beyond its limit by a share) whose artifact is `over` the budget."""
    best = SimpleNamespace(
        damage=damage,
        objective=100 * damage,
        overruns={"latency": short} if short else {},
        parts=Parts({"": ms}, {"": 8.0}, 2.0),
    )
    selection = SimpleNamespace(rejected=object() if fell else None)
    return Attempt(
        SimpleNamespace(best=best), selection, {"latency": over} if over else {}, allowed  # type: ignore[arg-type]
    )  # fmt: skip


def test_what_was_measured_corrects_the_limits() -> None:
    limits: dict[Axis, float] = {"damage": 0.5, "latency": 5.0}
    assert corrected(limits, [_attempt(0.1)]) is None
    slower = corrected(limits, [_attempt(0.1, over=0.25)])
    assert slower == {"damage": 0.5, "latency": pytest.approx(0.99 * 4.0 / 1.25)}
    fallen = corrected(limits, [_attempt(0.4, fell=True, allowed=0.5)])
    assert fallen == {"damage": pytest.approx(0.2), "latency": 5.0}


def _held(plan: Any, measured: float, spare: float) -> Any:
    """Predicted to take 2 ms, 1.6 to 2.5, and measured."""
    return replace(plan, held=Held(2.0, (1.6, 2.5), measured, "pi"), spare=spare)


def test_a_plan_that_leaves_time_may_do_less() -> None:
    """Half the time of the budget is left: twice the parts' 4 ms will do."""
    limits: dict[Axis, float] = {"damage": 0.5, "latency": 5.0}
    careful = _held(_attempt(0.1), 1.0, 0.5)
    assert corrected(limits, [careful]) == {"damage": 0.5, "latency": pytest.approx(0.99 * 4.0 / 0.5)}
    assert corrected(limits, [_held(_attempt(0.1), 1.0, 0.04)]) is None, "nothing is left to gain"
    assert corrected({"damage": 0.5}, [careful]) is None, "time has no budget"


def test_between_a_plan_that_is_over_and_one_that_leaves_some_lies_the_budget() -> None:
    """4 ms were a fifth over, 2 ms are a fifth under: 3 ms are as long as is allowed."""
    limits: dict[Axis, float] = {"damage": 0.5, "latency": 2.2}
    over, under = _attempt(0.1, over=0.2, ms=4.0), _held(_attempt(0.2, ms=2.0), 1.7, 0.2)
    assert corrected(limits, [over, under]) == {"damage": 0.5, "latency": pytest.approx(3.0 - 0.05)}
    assert corrected(limits, [over, replace(under, spare=0.04)]) is None, "nothing is left to gain"
    closer = _attempt(0.1, over=0.1, ms=3.5)
    assert corrected(limits, [over, closer, under]) == {"damage": 0.5, "latency": pytest.approx(2.95)}


def test_a_measurement_that_keeps_the_budget_refutes_the_prediction() -> None:
    short = _held(_attempt(0.5, short=1.0), 1.0, 0.0)
    assert short.short == {}
    assert corrected({"damage": 0.5, "latency": 2.0}, [short]) is None
    assert _attempt(0.5, short=1.0).short == {"latency": 1.0}


def test_more_damage_is_allowed_while_the_metric_bears_it() -> None:
    limits: dict[Axis, float] = {"damage": 0.5, "latency": 2.0}
    wider = corrected(limits, [_attempt(0.5, short=1.0)])
    assert wider == {"damage": 1.5, "latency": 2.0}
    between = corrected(limits, [_attempt(2.0, fell=True), _attempt(0.5, short=1.0)])
    assert between == {"damage": pytest.approx(1.0), "latency": 2.0}
    assert corrected(limits, [_attempt(0.6, fell=True), _attempt(0.5, short=1.0)]) is None


def test_less_damage_than_missed_the_budgets_is_not_tried_again() -> None:
    """0.9 was too much, 0.1 too little, and 0.4 too much by far: what is left lies between 0.1 and 0.4."""
    limits: dict[Axis, float] = {"damage": 0.4, "latency": 2.0}
    tried = [_attempt(0.9, fell=True), _attempt(0.1, short=0.2), _attempt(0.4, fell=True, allowed=0.06)]
    assert corrected(limits, tried) == {"damage": pytest.approx(0.2), "latency": 2.0}
    assert corrected(limits, [tried[0], tried[2]]) == {"damage": pytest.approx(0.024), "latency": 2.0}
    mild = [tried[0], tried[1], replace(tried[2], allowed=0.6)]
    assert corrected(limits, mild) == {"damage": pytest.approx(0.24), "latency": 2.0}


def test_of_plans_that_keep_the_budgets_the_one_that_loses_least_is_kept() -> None:
    """Damage is what is thought to be left; what the artifact lost is known."""
    severe, mild = replace(_attempt(0.02), lost=0.03), replace(_attempt(0.1), lost=0.01)
    over, fallen = replace(_attempt(0.0, over=0.1), lost=0.0), replace(_attempt(0.0, fell=True), lost=0.0)
    assert sorted([severe, mild, over, fallen], key=lambda each: each.rank) == [mild, severe, fallen, over]


def _little(attempt: Attempt) -> Attempt:
    """Its time is to be as little as the metric allows."""
    return replace(attempt, least=frozenset({"latency"}))


def test_what_is_to_be_little_gets_less_until_a_plan_fails() -> None:
    limits: dict[Axis, float] = {"damage": 0.5}
    kept = _little(_attempt(0.1, ms=4.0))
    assert corrected(limits, [kept]) == {"damage": 0.5, "latency": pytest.approx(2.8)}
    fallen, slower = _little(_attempt(0.3, fell=True, ms=2.8)), _little(_attempt(0.05, fell=True, ms=5.0))
    between = corrected(limits, [kept, slower, fallen])
    assert between == {"damage": 0.5, "latency": pytest.approx(math.sqrt(4.0 * 2.8))}
    near = _little(_attempt(0.3, fell=True, ms=3.6))
    assert corrected(limits, [kept, near]) is None, "nothing is left to gain"
    assert corrected(limits, [_little(_attempt(0.4, fell=True, allowed=0.5))]) == {"damage": pytest.approx(0.2)}


def test_what_is_to_be_little_may_do_more_damage_than_was_allowed() -> None:
    """A limit that no plan met is no budget that was broken."""
    stuck = _little(_attempt(0.5, short=0.4, ms=4.0))
    assert stuck.kept
    assert not stuck.short
    assert corrected({"damage": 0.5}, [stuck]) == {"damage": pytest.approx(1.5), "latency": pytest.approx(2.8)}


def test_of_plans_that_keep_the_metric_the_one_with_least_is_kept() -> None:
    less, more = replace(_attempt(0.1), left=0.3, lost=0.009), replace(_attempt(0.1), left=0.5, lost=0.0)
    fallen, over = replace(_attempt(0.1, fell=True), left=0.2), replace(_attempt(0.1, over=0.1), left=0.1)
    assert sorted([more, fallen, less, over], key=lambda each: each.rank) == [less, more, fallen, over]
