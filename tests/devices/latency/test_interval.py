"""Nine of ten networks left out lie within the interval, and one more is counted for what a few do not tell."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.devices.latency.interval import half_width


def test_of_many_it_holds_nine_of_ten() -> None:
    off = np.linspace(-1.0, 1.0, 1001)
    assert half_width(off) == pytest.approx(0.9, abs=0.01)


def test_of_few_it_is_the_worst() -> None:
    assert half_width([0.1, -0.5, 0.2]) == 0.5


@pytest.mark.parametrize(("count", "place"), [(9, 9), (10, 10), (19, 18), (99, 90)])
def test_it_is_the_place_that_conformal_prediction_names(count: int, place: int) -> None:
    assert half_width(np.arange(1, count + 1) / 100.0) == pytest.approx(place / 100.0)
