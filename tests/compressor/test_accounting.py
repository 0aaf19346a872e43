"""Energy of an inference from the declared power, and when the artifact has paid for its making."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board

from compressor.accounting import Account, pays_off, power_of
from compressor.devices.energy import WORLD, Making
from compressor.devices.local import Measurement
from compressor.report.model import Latency
from compressor.targets import Figure

ACCOUNT = Account(Figure(5.0, "test"), 2, WORLD)
MAKING = Making(1.0, 1.0, 30.0, False, "test")


def measurement(*rounds: float) -> Measurement:
    return Measurement(1.0, 1.0, rounds[0], rounds[0], rounds[0], rounds[0], len(rounds), 1, "test", rounds=rounds)


def test_a_prediction_is_an_energy_a_sample_without_an_interval() -> None:
    found = ACCOUNT.energy(Latency(predicted=8.0))
    assert found is not None
    assert (found.joules.low, found.joules.value, found.joules.high) == pytest.approx((0.02, 0.02, 0.02))
    assert not found.measured


def test_a_measured_latency_counts_before_a_predicted_one_and_has_an_interval() -> None:
    found = ACCOUNT.energy(Latency(8.0, 4.0), measurement(3.0, 4.0, 5.0))
    assert found is not None
    assert (found.joules.low, found.joules.value, found.joules.high) == pytest.approx((0.0075, 0.01, 0.0125))


def test_without_power_or_latency_nothing_is_guessed() -> None:
    assert Account(None, 1, WORLD).energy(Latency(8.0, 4.0), measurement(4.0)) is None
    assert ACCOUNT.energy(Latency()) is None


def test_making_pays_off_by_what_each_inference_saves() -> None:
    before, after = ACCOUNT.energy(Latency(8.0)), ACCOUNT.energy(Latency(4.0))
    found = pays_off(MAKING, before, after)
    assert found is not None
    assert (found.when, found.count, found.sure) == ("from", pytest.approx(3000.0), True)
    slower = pays_off(MAKING, after, before)
    assert slower is not None
    assert slower.when == "never"
    assert pays_off(MAKING, None, after) is None
    assert pays_off(MAKING, before, None) is None


def test_rounds_measured_in_turn_are_compared_with_each_other() -> None:
    first, last = measurement(8.0, 16.0, 8.0), measurement(4.0, 8.0, 4.0)  # the machine was slow once, for both
    before, after = ACCOUNT.energy(Latency(None, 8.0), first), ACCOUNT.energy(Latency(None, 4.0), last)
    found = pays_off(MAKING, before, after, (first, last))
    assert found is not None
    assert (found.low, found.count, found.high) == pytest.approx((3000.0, 3000.0, 3000.0))


def test_the_power_is_the_targets_and_the_hosts_that_of_its_threads() -> None:
    target = board(power=Figure(7.0, "test"))
    assert power_of(target, 1) == Figure(7.0, "test")
    assert power_of(board(), 1) is None
    host = replace(target, is_host=True)
    assert power_of(host, None) == Figure(7.0, "test")
    one = power_of(host, 1)
    assert one is not None
    assert one.source.endswith("; 1 busy")


def test_predictions_that_the_report_calls_the_same_never_pay_off() -> None:
    found = pays_off(MAKING, ACCOUNT.energy(Latency(8.0)), ACCOUNT.energy(Latency(7.93)))
    assert found is not None
    assert found.when == "never"
    more = pays_off(MAKING, ACCOUNT.energy(Latency(8.0)), ACCOUNT.energy(Latency(7.9)))
    assert more is not None
    assert more.when == "from"
