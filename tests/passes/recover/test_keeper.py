"""The best is kept; what diverges goes back to it at half the rate."""

from __future__ import annotations

import math

import torch

from compressor.passes.recover.keeper import ROLLBACKS, Keeper


def _keeper() -> Keeper:
    return Keeper(1.0, {"w": torch.zeros(1)})


def test_less_is_better() -> None:
    keeper = _keeper()
    assert keeper.judge(1, 0.5, 0.9) == "better"
    keeper.keep(1, 0.9, {"w": torch.ones(1)})
    assert keeper.judge(2, 0.5, 0.95) == "worse"
    assert (keeper.loss, keeper.step) == (0.9, 1)


def test_twice_the_best_loss_for_a_while_is_divergence() -> None:
    keeper = _keeper()
    assert keeper.judge(1, 1.0, 2.5) == "worse"
    assert keeper.judge(2, 1.0, 1.5) == "worse", "it came back by itself"
    assert keeper.judge(3, 1.0, 2.5) == "worse"
    assert keeper.judge(4, 1.0, 2.5) == "diverged"
    assert keeper.scale == 0.5


def test_while_something_ramps_only_what_is_not_finite_diverged() -> None:
    keeper = _keeper()
    assert [keeper.judge(step, 1.0, 9.0, ramping=True) for step in range(4)] == ["worse"] * 4
    assert keeper.judge(5, 1.0, 9.0) == "worse", "it is counted from here on"
    assert keeper.judge(6, math.nan, 9.0, ramping=True) == "diverged"


def test_what_is_not_finite_diverged_at_once_and_in_the_end_is_hopeless() -> None:
    keeper = _keeper()
    verdicts = [keeper.judge(step, math.nan, math.inf) for step in range(ROLLBACKS + 1)]
    assert verdicts == ["diverged"] * ROLLBACKS + ["hopeless"]


def test_it_survives_a_checkpoint() -> None:
    keeper = _keeper()
    keeper.judge(1, 1.0, 2.5)
    again = Keeper.restored(keeper.saved())
    assert again == keeper
