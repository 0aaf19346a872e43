"""The kernel of side information: alike are models of one format, size and rate."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.devices.latency.boards.side import SideKernel, side_kernel

SIZE = np.array([0.0, 0.0, 2.0])
SCALE = SideKernel(format=0.5, linear=0.01, smooth=0.02, own=0.001)


def test_models_of_the_same_size_differ_by_their_own_variance_alone() -> None:
    kernel = side_kernel(SIZE, None, None, SCALE)
    assert kernel[0, 0] - kernel[0, 1] == pytest.approx(SCALE.own)
    low, high = -1 / np.sqrt(2), np.sqrt(2)  # the sizes, centred and divided by their spread
    assert kernel[0, 2] == pytest.approx(0.5 + 0.01 * low * high + 0.02 * np.exp(-((high - low) ** 2) / 2))


def test_another_format_speaks_three_tenths_as_much() -> None:
    same = side_kernel(SIZE, None, ["fp32"] * 3, SCALE)
    other = side_kernel(SIZE, None, ["fp32", "int8", "fp32"], SCALE)
    assert other[0, 1] == pytest.approx(0.3 * (same[0, 1] - SCALE.format))
    assert other[0, 2] == same[0, 2]


def test_rates_tell_models_of_one_size_apart() -> None:
    work = np.log([[1.0], [8.0], [8.0]])
    plain, told = side_kernel(SIZE, None, None, SCALE), side_kernel(SIZE, work, None, SCALE)
    assert told[0, 1] < plain[0, 1]
    assert np.linalg.eigvalsh(told).min() > 0
