"""A token model fitted to timed networks predicts others of the same device."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from timed_networks import network, networks

from compressor.devices.latency.sequence import SequenceModel
from compressor.devices.latency.sequence_fit import fit_sequence
from compressor.devices.latency.sequence_training import Training
from compressor.errors import InputError

BRIEF = Training(members=3, width=8, steps=150)


@cache
def model() -> SequenceModel:
    return fit_sequence(networks(), training=BRIEF)


def test_unseen_networks_are_predicted() -> None:
    for seed in range(14, 24):
        one = network(seed)
        found = model().predict(one.calls)
        assert found.microseconds == pytest.approx(one.microseconds, rel=0.2)
        assert (found.covered, found.unknown) == (1.0, ())


def test_the_interval_is_as_wide_as_networks_left_out_were_off() -> None:
    assert 0 < model().spread < 0.3
    inside = [model().predict(network(seed).calls) for seed in range(14, 34)]
    held = [p.low <= network(14 + i).microseconds <= p.high for i, p in enumerate(inside)]
    assert sum(held) >= 15


def test_it_is_the_same_each_time_and_leaves_torch_as_it_was() -> None:
    brief, threads, state = Training(members=2, width=4, steps=3), torch.get_num_threads(), torch.get_rng_state()
    first, second = (fit_sequence(networks(6), training=brief) for _ in range(2))
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_it_fits_into_a_file_and_reads_back() -> None:
    again = SequenceModel.from_json(json.loads(json.dumps(model().to_json())))
    one = network(50).calls
    assert again.predict(one).microseconds == pytest.approx(model().predict(one).microseconds, rel=1e-3)


def test_a_model_of_one_thread_is_trained_on_for_two() -> None:
    faster = [replace(n, threads=2, microseconds=0.6 * n.microseconds) for n in networks(6)]
    faster = [replace(n, nodes=tuple(replace(t, microseconds=0.6 * t.microseconds) for t in n.nodes)) for n in faster]
    two = fit_sequence(faster, prior=model(), training=BRIEF)
    assert (two.threads, len(two.members)) == (2, 3)
    assert two.vocabulary == model().vocabulary
    one = network(50)
    assert two.predict(one.calls).microseconds == pytest.approx(0.6 * one.microseconds, rel=0.3)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="no networks"):
        fit_sequence([])
    with pytest.raises(InputError, match="different numbers of threads"):
        fit_sequence([network(1), replace(network(2), threads=2)])


def test_of_a_handful_none_is_left_out_and_the_interval_is_wide() -> None:
    rough = fit_sequence(networks(2), training=Training(members=2, width=4, steps=40))
    assert rough.spread == pytest.approx(0.3)
    assert rough.predict(network(50).calls).microseconds == pytest.approx(network(50).microseconds, rel=0.8)
