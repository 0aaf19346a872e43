"""The size of a block is found by the copies that it makes necessary."""

from __future__ import annotations

import dataclasses

import pytest
from timed_networks import conv, networks, relu

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.blocks import with_lanes
from compressor.devices.latency.laws.numbers import USUAL
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.samples import timed


def ran(channels: int, copied: bool) -> Measured:
    """A blocked convolution of a map in the plain layout; as an image, or copied into blocks first."""
    one = conv(f"c{channels}", "x", channels, 32, 8)
    nodes = [NodeTime("a", "nchwc.Conv", one.name, 9.0), NodeTime("o", "nchwc.ReorderOutput", one.name, 1.0)]
    nodes += [NodeTime("i", "nchwc.ReorderInput", one.name, 1.0)] if copied else []
    return Measured(f"n{channels}", "plain", 1, (one, relu("r", one)), tuple(nodes), 11.0)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_fewer_channels_than_a_block_are_read_as_an_image(lanes: int) -> None:
    assert (
        with_lanes(USUAL, [timed(ran(channels, channels >= lanes)) for channels in (4, 8, 12, 16, 24)]).lanes == lanes
    )


def test_eight_where_nothing_tells() -> None:
    one = networks(1)[0]
    assert with_lanes(USUAL, [timed(dataclasses.replace(one, calls=one.calls[-1:], nodes=one.nodes[-1:]))]) == USUAL
