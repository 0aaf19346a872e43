"""A model fitted to timed networks predicts others of the same device."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
from timed_networks import conv, linear, network, networks

from compressor.devices.latency.fit import fit
from compressor.devices.latency.learned import Learned
from compressor.errors import InputError
from compressor.graph.calls import Call


@cache
def model() -> Learned:
    return fit(networks())


def test_unseen_networks_are_predicted() -> None:
    for seed in range(14, 24):
        one = network(seed)
        found = model().predict(one.calls)
        assert found.microseconds == pytest.approx(one.microseconds, rel=0.15)
        assert found.covered == 1.0
        assert not found.unknown


def test_the_interval_is_as_wide_as_networks_left_out_were_off() -> None:
    assert 0 < model().spread < 0.2
    inside = [model().predict(network(seed).calls) for seed in range(14, 34)]
    held = [p.low <= network(14 + i).microseconds <= p.high for i, p in enumerate(inside)]
    assert sum(held) >= 15


def test_it_fits_into_a_file_and_reads_back() -> None:
    text = json.dumps(model().to_json())
    assert len(text) < 1_000_000
    again = Learned.from_json(json.loads(text))
    one = network(50).calls
    assert again.predict(one).microseconds == pytest.approx(model().predict(one).microseconds, rel=0.01)


def sweep(kind: str) -> list[list[Call]]:
    sizes = (16, 24, 40, 64, 96, 144, 216)
    if kind == "channels":
        return [[conv("c", "x", size, 32, 14)] for size in sizes]
    if kind == "filters":
        return [[conv("c", "x", 32, size, 14)] for size in sizes]
    if kind == "map":
        return [[conv("c", "x", 32, 32, size)] for size in sizes]
    return [[linear("l", "x", size, 96, 96)] for size in sizes]


@pytest.mark.parametrize("kind", ["channels", "filters", "map", "tokens"])
def test_what_grows_never_gets_faster(kind: str) -> None:
    times = [model().predict(calls).microseconds for calls in sweep(kind)]
    assert times == sorted(times)


def test_a_model_of_one_thread_is_bent_to_two() -> None:
    faster = [replace(n, threads=2, microseconds=0.6 * n.microseconds) for n in networks(6)]
    faster = [replace(n, nodes=tuple(replace(t, microseconds=0.6 * t.microseconds) for t in n.nodes)) for n in faster]
    two = fit(faster, prior=model())
    assert two.threads == 2
    one = network(50)
    assert two.predict(one.calls).microseconds == pytest.approx(0.6 * one.microseconds, rel=0.15)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="no networks"):
        fit([])
    with pytest.raises(InputError, match="different numbers of threads"):
        fit([network(1), replace(network(2), threads=2)])


def test_a_handful_is_enough_for_a_rough_model() -> None:
    rough = fit(networks(2))
    assert rough.predict(network(50).calls).microseconds == pytest.approx(network(50).microseconds, rel=0.6)
