"""The Gaussian learned from source devices, and what samples make of it."""

from __future__ import annotations

import numpy as np

from compressor.devices.latency.boards.prior import conditional, learned_prior
from compressor.devices.latency.boards.table import Floats, LatencyTable

COUNT = 8
KERNEL = 0.01 * np.eye(COUNT)


def table(logs: Floats, boards: tuple[str, ...] | None = None) -> LatencyTable:
    names = tuple(f"d{j}" for j in range(logs.shape[1]))
    return LatencyTable(tuple(f"m{i}" for i in range(len(logs))), names, boards or names, np.exp(logs))


def one_factor(devices: int, seed: int = 0) -> tuple[Floats, Floats]:
    """log t = size + speed + loading × factor, without noise; and the loadings."""
    rng = np.random.default_rng(seed)
    loading = rng.normal(size=COUNT) * 0.4
    logs = rng.uniform(0, 3, COUNT)[:, None] + rng.normal(size=devices) + np.outer(loading, rng.normal(size=devices))
    return logs, loading


def test_a_factor_of_the_sources_is_found() -> None:
    logs, loading = one_factor(60)
    found = learned_prior(table(logs), KERNEL).covariance
    flat = np.eye(COUNT) - 1 / COUNT
    values, axes = np.linalg.eigh(flat @ found @ flat)
    direction = flat @ loading / np.linalg.norm(flat @ loading)
    assert abs(axes[:, -1] @ direction) > 0.99
    assert values[-1] > 10 * values[-2]


def test_holes_are_filled_by_what_other_devices_do() -> None:
    logs, _ = one_factor(30)
    holed = logs.copy()
    holed[2, 5] = holed[6, 9] = np.nan
    prior = learned_prior(table(holed), KERNEL)
    assert abs(prior.columns[2, 5] - logs[2, 5]) < 0.1
    assert abs(prior.columns[6, 9] - logs[6, 9]) < 0.1


def test_an_outlying_device_counts_less() -> None:
    logs, _ = one_factor(20)
    logs[:, 3] += np.random.default_rng(1).normal(size=COUNT) * 2
    trust = learned_prior(table(logs), KERNEL).trust
    assert trust.argmin() == 3
    assert trust[3] < 0.6 * np.median(trust)


def test_columns_of_one_board_share_its_weight_and_leave_with_it() -> None:
    logs, _ = one_factor(12)
    boards = ("pi",) * 4 + tuple(f"b{j}" for j in range(8))
    prior = learned_prior(table(logs, boards), KERNEL)
    np.testing.assert_allclose(prior.weights[[0, 5]], [0.5, 1.0])
    numbers = np.array([0] * 4 + list(range(1, 9)))
    left = prior.without(0, numbers)
    assert np.abs(left.mean - prior.mean).max() > 0.01
    moved = prior.columns.copy()
    moved[:, :4] += 5.0  # what is there of the board does not matter any more
    again = type(prior)(**{**vars(prior), "columns": moved}).without(0, numbers)
    np.testing.assert_allclose(again.covariance, left.covariance)


def test_a_sample_narrows_what_varies_with_it() -> None:
    covariance = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mean, variance = conditional(np.zeros(3), covariance, np.array([0]), np.array([1.0]))
    np.testing.assert_allclose(mean, [0.998, 0.898, 0.0], atol=1e-3)
    np.testing.assert_allclose(variance, [0.002, 0.192, 1.0], atol=1e-3)
