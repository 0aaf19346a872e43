"""The board's figures are those of `compress verify`."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.devices.runner.golden import output_error
from compressor.export import verify

CASES = [
    np.array([1.0, -2.0, 0.5]), np.array([0.0, 0.0, 0.0]), np.array([np.nan, 1.0, np.inf]),
    np.array([-np.inf, 1.0, 2.0]), np.array([1, 2, 3]), np.array([1, 2, 4]), np.zeros(0), np.zeros((1, 3)),
    np.array([1.0, 2.0, 3.0], np.float16),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("golden", CASES, ids=str)
@pytest.mark.parametrize("actual", CASES, ids=str)
def test_it_is_the_figure_of_verify(actual: np.ndarray, golden: np.ndarray) -> None:
    ours, theirs = output_error(actual, golden, verify.TIES), verify._relative(actual, golden)
    assert ours == theirs or (np.isnan(ours) and np.isnan(theirs))


def test_it_can_be_worked_out_by_hand() -> None:
    assert output_error(np.array([3.0, 4.5]), np.array([3.0, 4.0]), 0) == pytest.approx(0.1)
    assert output_error(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0.05) == pytest.approx(0.2)
