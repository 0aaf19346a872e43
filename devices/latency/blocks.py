"""How many channels a block of the runtime's blocked layout has, found by counting the copies between layouts.

    lanes = argmin Σ_networks | copies expected with blocks of `lanes` channels − copies that ran |

It is the width of the runtime's vectors: 8 numbers of single precision with AVX2, 16 with AVX-512. Only counts are
compared, no times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressor.devices.latency.laws.numbers import Core
from compressor.devices.latency.laws.reorders import blocks_of
from compressor.devices.latency.layout import Layout, fit_layout
from compressor.devices.latency.samples import Timed

__all__ = ["with_lanes"]

_LANES = (8, 16, 4)  # the likeliest first


def with_lanes(core: Core, networks: Sequence[Timed]) -> Core:
    """`core` with the lanes that these networks tell of; 8 where nothing does."""
    seen = [each for network in networks for each in network.convolutions]
    cores = [replace(core, lanes=lanes) for lanes in _LANES]
    off = [_off(networks, fit_layout(seen, each)) for each in cores]
    return cores[off.index(min(off))]


def _off(networks: Sequence[Timed], layout: Layout) -> int:
    found = 0
    for each in networks:
        calls = each.network.calls
        expected = sum(map(len, blocks_of(calls, layout.blocked(calls), layout.core).values()))
        found += abs(expected - sum(node.reorders for node in each.network.nodes))
    return found
