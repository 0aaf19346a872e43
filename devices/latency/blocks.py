"""How many channels a block of the runtime's blocked layout has, found by counting the copies between layouts.

    lanes = argmin Σ_networks | copies expected with blocks of `lanes` channels − copies that ran |

It is the width of the runtime's vectors: 8 numbers of single precision with AVX2, 16 with AVX-512. Only counts are
compared, no times.
"""

from __future__ import annotations

from collections.abc import Sequence

from compressor.devices.latency.laws.reorders import blocks_of
from compressor.devices.latency.layout import Layout, fit_layout
from compressor.devices.latency.samples import Timed

__all__ = ["lanes_of"]

_LANES = (8, 16, 4)  # the likeliest first


def lanes_of(networks: Sequence[Timed]) -> int:
    """8 where nothing tells."""
    seen = [each for network in networks for each in network.convolutions]
    off = {lanes: _off(networks, fit_layout(seen, lanes)) for lanes in _LANES}
    return min(_LANES, key=lambda lanes: off[lanes])


def _off(networks: Sequence[Timed], layout: Layout) -> int:
    found = 0
    for each in networks:
        calls = each.network.calls
        expected = sum(map(len, blocks_of(calls, layout.blocked(calls), layout.lanes).values()))
        found += abs(expected - sum(node.reorders for node in each.network.nodes))
    return found
