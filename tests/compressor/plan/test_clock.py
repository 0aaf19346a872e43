"""How long planning may take."""

from __future__ import annotations

import math

from compressor.plan.clock import WEIGHING, Clock


def test_weighing_is_over_before_the_rest() -> None:
    clock = Clock(60.0)
    clock.begun -= 50.0
    assert clock.over(WEIGHING)
    assert not clock.over()
    clock.begun -= 20.0
    assert clock.over()


def test_without_a_time_it_is_never_over() -> None:
    assert not Clock(begun=-math.inf).over()
