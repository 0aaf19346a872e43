"""A model says what a network takes, what it does not know, and the same when it is read again."""

from __future__ import annotations

import json

import pytest
from timed_networks import call, conv, network, relu

from compressor.devices.latency.fusion import Fusion, fit_fusion
from compressor.devices.latency.laws.regression import Law
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.learned import Learned


def model() -> Learned:
    one = network(1)
    fusion = fit_fusion([(one.calls, {}, {c.name for c in one.calls if c.op != "relu"})] * 3)
    laws = {"conv blocked": Law({"call": 1.0}, 1.0), "linear": Law({}, 2.0)}
    return Learned(Layout(True), fusion, laws, frozenset({"conv2d", "linear", "relu"}), 1.0, {"linear": 1.5}, 0.1)


def test_the_sum_of_the_calls() -> None:
    found = model().predict(network(1).calls)
    assert found.microseconds == pytest.approx(sum(found.calls.values()))
    assert found.low < found.microseconds < found.high
    assert found.low * found.high == pytest.approx(found.microseconds**2)
    assert set(found.calls) == {each.name for each in network(1).calls}


def test_fused_chains_cost_nothing() -> None:
    found = model().predict(network(1).calls)
    assert {name for name, time in found.calls.items() if not time} == {f"relu_{place}" for place in range(5)}


def test_an_operator_never_seen_is_priced_and_said() -> None:
    one = conv("conv", "x", 8, 8, 32)
    strange = call("fft", "fft", "other", one.shape, ("relu", one.shape), macs=10**8)
    found = model().predict([one, relu("relu", one), strange])
    assert found.unknown == ("fft",)
    assert found.covered == pytest.approx(0.5)
    assert found.calls["fft"] > 5000 * 0.9  # 10⁸ at 20 a nanosecond
    known = model().predict([one, relu("relu", one)])
    assert found.high / found.microseconds > known.high / known.microseconds


def test_a_group_is_corrected_as_a_whole() -> None:
    plain = Learned(Layout(True), Fusion(), {"linear": Law({}, 2.0)}, frozenset())
    one = [network(1).calls[-1]]
    assert model().predict(one).microseconds == pytest.approx(1.5 * plain.predict(one).microseconds)


def test_nothing_takes_no_time() -> None:
    found = model().predict([])
    assert (found.microseconds, found.covered, found.unknown) == (0.0, 1.0, ())


def test_back_from_json() -> None:
    again = Learned.from_json(json.loads(json.dumps(model().to_json())))
    assert again.predict(network(1).calls) == model().predict(network(1).calls)


def test_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 9"):
        Learned.from_json({**model().to_json(), "version": 9})
