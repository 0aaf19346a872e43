"""A prediction is within its interval, beyond it, or states none."""

from __future__ import annotations

import pytest

from compressor.held import Held


@pytest.mark.parametrize(("measured", "within"), [(0.9, True), (0.8, True), (1.3, True), (0.7, False), (1.31, False)])
def test_within_is_from_end_to_end(measured: float, within: bool) -> None:
    held = Held(1.0, (0.8, 1.3), measured, "pi (Cortex-A76)")
    assert held.within is within
    assert held.ratio == measured
    assert ("within the interval" if within else "beyond the interval") in str(held)
    assert "on pi (Cortex-A76), 1 ms predicted" in str(held)
    assert "(0.8 ms to 1.3 ms)" in str(held)


def test_a_roofline_states_none() -> None:
    held = Held(1.0, None, 3.0, "here")
    assert held.within is None
    assert str(held) == "measured 3 ms on here, 1 ms predicted, 3.00 times that: the model states no interval"
