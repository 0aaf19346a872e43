"""Samples of single calls from networks that were timed."""

from __future__ import annotations

import pytest
from timed_networks import call, conv, network

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.measured import Measured
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


def test_a_map_turned_for_a_convolution_of_bytes_is_a_copy_and_none_of_its_time() -> None:
    calls = (
        conv("conv", "x", 8, 8, 8, format="int8"),
        call("t", "permute", "layout", (1, 8, 8, 8), ("conv", (1, 8, 8, 8))),
    )
    nodes = (
        NodeTime("Transpose", "Transpose", "conv", 3.0), NodeTime("c", "QLinearConv", "conv", 9.0),
        NodeTime("own", "Transpose", "t", 2.0),
    )  # fmt: skip
    found = timed(Measured("a", "a", 1, calls, nodes, 14.0))
    assert found.times == {"conv": pytest.approx(9.0), "t": pytest.approx(2.0)}
    assert found.reorders == pytest.approx(3.0)


def test_no_copies_were_timed() -> None:
    assert copies([timed(network(2))], Layout(True)) == []
