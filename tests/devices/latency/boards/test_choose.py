"""Which models are worth measuring: those that tell of the others."""

from __future__ import annotations

import numpy as np

from compressor.devices.latency.boards.choose import by_sources, by_variance
from compressor.devices.latency.boards.prior import Prior

# Models 0, 1, 2 go together, 3 and 4 go together, 5 goes alone.
COVARIANCE = np.zeros((6, 6))
COVARIANCE[:3, :3], COVARIANCE[3:5, 3:5], COVARIANCE[5, 5] = 0.99, 0.99, 0.99
COVARIANCE += 0.01 * np.eye(6)


def test_the_largest_group_is_sampled_first_and_once() -> None:
    first, second, third = by_variance(COVARIANCE, 3, range(6))
    assert (first < 3, second in (3, 4), third) == (True, True, 5)


def test_only_what_is_among_the_offered_is_chosen() -> None:
    assert by_variance(COVARIANCE, 2, [2, 5]) == [2, 5]
    assert set(by_variance(COVARIANCE, 2, [4, 3])) == {3, 4}


def test_sources_choose_what_brings_most_models_right() -> None:
    rng = np.random.default_rng(0)
    columns = np.linalg.cholesky(COVARIANCE) @ rng.normal(size=(6, 200))
    ones = np.ones(200)
    prior = Prior(np.zeros(6), COVARIANCE, columns, ones, ones, np.zeros((6, 6)), COVARIANCE)
    first, second = by_sources(prior, 2, range(6))
    assert (first < 3, second in (3, 4)) == (True, True)
    assert sorted(by_sources(prior, 6, range(6))) == list(range(6))
