"""Slices of networks: small, of any size that is drawn, and captured whole."""

from __future__ import annotations

import pytest
from network_styles import Style, is_captured, runs_at_every_size

from compressor.devices.latency.networks import convolutional

STYLES: list[Style] = [
    convolutional.branched, convolutional.dense, convolutional.inverted, convolutional.modern, convolutional.plain,
    convolutional.residual, convolutional.separable, convolutional.shuffled,
]  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_it_runs_at_every_size(style: Style) -> None:
    runs_at_every_size(style)


@pytest.mark.parametrize("style", STYLES)
def test_it_is_captured(style: Style) -> None:
    is_captured(style)
