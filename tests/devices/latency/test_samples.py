"""Samples of single calls from networks that were timed."""

from __future__ import annotations

import pytest
from timed_networks import network

from compressor.devices.latency.layout import Layout
from compressor.devices.latency.samples import copies, samples_of, timed


def test_times_are_those_of_the_calls() -> None:
    found = timed(network(2))
    assert sum(found.times.values()) == pytest.approx(network(2).microseconds)
    assert all(blocked for _, blocked in found.convolutions)
    assert not any(name.startswith("relu") for name in found.times)


def test_samples_by_group() -> None:
    found = samples_of([timed(network(2))], Layout(True))
    assert {group: len(listed) for group, listed in found.items()} == {"conv blocked": 5, "linear": 1}
    assert sum(each.share for listed in found.values() for each in listed) == pytest.approx(1)


def test_no_copies_were_timed() -> None:
    assert copies([timed(network(2))], Layout(True)) == []
