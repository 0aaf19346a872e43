"""The roofline over kept calls: kernels' work, the data sheet's numbers, and its own fitted to what was timed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from timed_networks import conv, linear, network, networks, relu

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from latency.rooflines import Kept, data_sheet, fitted, kernels_of

from compressor.targets import load_target


def test_what_stays_inside_a_kernel_is_not_moved() -> None:
    one = conv("conv", "x", 8, 16, 10)
    (found,) = kernels_of([one, relu("relu", one)])
    weights, read, written = 4 * 8 * 16 * 9, 4 * 8 * 100, 4 * 16 * 100
    assert found == ("fp32", one.macs, weights + read + written)


def test_the_slower_of_computing_and_moving_counts() -> None:
    roofline = Kept((10.0, 20.0, 20.0), 100.0, 1.0)
    assert roofline.predict([("fp32", 1000.0, 50.0)]) == pytest.approx(101.0)
    assert roofline.predict([("int8", 1000.0, 9000.0), ("blocks", 0.0, 0.0)]) == pytest.approx(92.0)


def test_the_data_sheet_has_all_cores_or_some() -> None:
    target = load_target("raspberry-pi-4")
    whole, one = data_sheet(target, target.threads), data_sheet(target, 1)
    assert whole.rates[0] == pytest.approx(target.threads * one.rates[0])
    assert whole.bandwidth == one.bandwidth == pytest.approx(1e-6 * target.bandwidth.value)


def test_fitted_it_is_better_than_it_was() -> None:
    start = Kept((100e3, 100e3, 100e3), 50e3, 0.1)
    found = fitted(networks(8), start)
    one = network(30)
    assert found.predict(kernels_of(one.calls)) == pytest.approx(one.microseconds, rel=0.2)
    assert kernels_of([linear("l", "x", 4, 8, 8, format="int4")])[0][0] == "blocks"
