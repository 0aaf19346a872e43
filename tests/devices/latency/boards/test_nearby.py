"""Around samples, the devices on which they relate alike decide."""

from __future__ import annotations

import numpy as np

from compressor.devices.latency.boards.nearby import Nearby, seen_nearby
from compressor.devices.latency.boards.prior import Prior

BOARDS = np.arange(4)


def prior() -> Prior:
    """Two devices where model 2 is as slow as model 0 is, two where it is e times as slow."""
    columns = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0]])
    return Prior(columns.mean(1), np.eye(3), columns, np.ones(4), np.ones(4), np.zeros((3, 3)), np.eye(3))


def test_devices_of_the_same_shape_set_the_mean_at_the_new_devices_speed() -> None:
    mean, _ = seen_nearby(prior(), BOARDS, np.array([0, 1]), np.array([5.0, 6.0]), Nearby(0.1, 0.5))
    np.testing.assert_allclose(mean, [5.0, 6.0, 6.0], atol=0.05)
    mean, _ = seen_nearby(prior(), BOARDS, np.array([0, 1]), np.array([5.0, 5.0]), Nearby(0.1, 0.5))
    np.testing.assert_allclose(mean, [5.0, 5.0, 5.0], atol=0.05)


def test_a_wide_reach_takes_all_devices_alike() -> None:
    mean, _ = seen_nearby(prior(), BOARDS, np.array([0, 1]), np.array([5.0, 6.0]), Nearby(100.0))
    np.testing.assert_allclose(mean, [5.25, 5.75, 5.75], atol=1e-3)


def test_a_left_out_board_has_no_say() -> None:
    changed = prior()
    changed.columns[:, 2] += [0.0, 0.0, 9.0]
    rows, logs = np.array([0, 1]), np.array([5.0, 6.0])
    for one, other in zip(
        seen_nearby(prior(), BOARDS, rows, logs, Nearby(0.1), but=2),
        seen_nearby(changed, BOARDS, rows, logs, Nearby(0.1), but=2),
        strict=True,
    ):
        np.testing.assert_allclose(one, other)


def test_one_board_leaves_the_global_shape_as_it_is() -> None:
    _, covariance = seen_nearby(prior(), np.zeros(4, dtype=np.intp), np.array([0]), np.array([1.0]), Nearby())
    np.testing.assert_allclose(covariance - 0.01, [[0, 0, 0], [0, 2, 1], [0, 1, 2]], atol=1e-12)
