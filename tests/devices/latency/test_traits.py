"""What is new to a profile: sizes far from all that was measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.devices.latency.subject import calls_at_one
from compressor.devices.latency.traits import FAR, Seen, Trait, traits_of
from compressor.graph.capture import capture


def traits(module: nn.Module, *shape: int, how: str = "plain") -> list[Trait]:
    return traits_of(calls_at_one(capture(module.eval(), (torch.randn(2, *shape),)).program), how)


def linear(rows: int, inner: int, columns: int) -> list[Trait]:
    return traits(nn.Linear(inner, columns), rows, inner)


def test_what_was_seen_is_not_new_and_what_nothing_resembles_is_far() -> None:
    seen = Seen()
    assert seen.worth(linear(32, 64, 64)) == FAR
    seen.add(linear(32, 64, 64))
    assert seen.worth(linear(32, 64, 64)) == 0.0


def test_new_is_what_is_far_in_any_size() -> None:
    seen = Seen()
    seen.add(linear(64, 128, 128))
    near, fewer_rows, wider = (seen.worth(linear(*sizes)) for sizes in ((64, 128, 144), (16, 128, 128), (64, 128, 512)))
    assert near < fewer_rows == pytest.approx(1.0) == wider


def test_formats_and_odd_widths_are_kinds_of_their_own() -> None:
    even, odd = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(9, 9, 3, groups=9)
    seen = Seen()
    seen.add(traits(even, 8, 9, 9))
    assert seen.worth(traits(even, 8, 9, 9, how="int8")) == FAR
    assert seen.worth(traits(odd, 9, 9, 9)) == FAR


def test_long_calls_count_more() -> None:
    seen = Seen()
    seen.add([Trait("a", (1.0,), 1.0)])
    assert seen.worth([Trait("a", (1.0,), 3.0), Trait("b", (1.0,), 1.0)]) == pytest.approx(FAR / 4)
    assert seen.worth([Trait("a", (1.0,), 1.0), Trait("b", (1.0,), 3.0)]) == pytest.approx(FAR * 0.75**0.5 / 2)


def test_a_few_long_kernels_tell_more_than_many_short_ones() -> None:
    few, many = ([Trait("a", (float(place),), 1.0) for place in range(count)] for count in (4, 16))
    assert Seen().worth(few) == pytest.approx(2 * Seen().worth(many))
