"""The ratio of two models' times is given with what noise leaves of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compressor.devices.local import Measurement
from compressor.devices.side_by_side import LEAST_ROUNDS, interval, side_by_side


def measurement(rounds: np.ndarray) -> Measurement:
    p50 = float(np.median(rounds)) if len(rounds) else 0.0
    found = Measurement(1.0, 1.0, p50, p50, p50, p50, len(rounds), 1, "onnxruntime")
    return replace(found, rounds=tuple(rounds))


def test_the_interval_is_that_of_order_statistics() -> None:
    after = np.arange(1.0, 101.0)
    found = side_by_side(measurement(np.ones(100)), measurement(after))
    assert (found.low, found.ratio, found.high) == (40.0, 50.5, 61.0)  # j = ⌊(100 − 19.6) / 2⌋ = 40


def test_few_rounds_give_their_whole_span() -> None:
    found = side_by_side(measurement(np.array([2.0, 2.0])), measurement(np.array([1.0, 4.0])))
    assert (found.low, found.high) == (0.5, 2.0)


def test_a_disturbance_of_whole_rounds_cancels_out() -> None:
    clock = np.random.default_rng(0).lognormal(0, 0.5, 60)
    found = side_by_side(measurement(clock), measurement(1.1 * clock))
    assert found.low == pytest.approx(1.1)
    assert found.high == pytest.approx(1.1)


def test_equal_models_are_told_apart_in_one_run_of_twenty_at_most() -> None:
    random = np.random.default_rng(0)
    noise = [(random.lognormal(0, 0.3, 40), random.lognormal(0, 0.3, 40)) for _ in range(400)]
    found = [side_by_side(measurement(before), measurement(after)) for before, after in noise]
    assert np.mean([not each.low <= 1.0 <= each.high for each in found]) < 0.05


def test_the_least_rounds_are_those_whose_span_holds_the_median_nineteen_times_in_twenty() -> None:
    assert 1 - 2.0 ** (1 - LEAST_ROUNDS) >= 0.95 > 1 - 2.0 ** (2 - LEAST_ROUNDS)


def test_no_rounds() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        side_by_side(measurement(np.array([])), measurement(np.ones(3)))


def test_the_interval_of_ratios_needs_no_order() -> None:
    assert interval([3.0, 1.0, 2.0]) == (1.0, 2.0, 3.0)
