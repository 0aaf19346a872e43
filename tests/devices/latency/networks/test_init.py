"""A style and a seed give one network, each time the same."""

from __future__ import annotations

import pytest
import torch

from compressor.devices.latency.networks import STYLES, network, reference


@pytest.mark.parametrize("style", ["inverted", "encoder"])
def test_the_same_network_each_time(style: str) -> None:
    first, second, other = network(style, 3), network(style, 3), network(style, 4)
    assert str(first.module) == str(second.module) != str(other.module)
    with torch.no_grad():
        assert torch.equal(first.module(*first.example), second.module(*second.example))


def test_styles_are_named_as_people_write_them() -> None:
    assert {"residual", "modern-decoder", "windowed"} <= set(STYLES)


def test_the_reference_is_one_small_network() -> None:
    first, second = reference(), reference()
    assert all(torch.equal(a, b) for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True))
    assert not first.module.training
