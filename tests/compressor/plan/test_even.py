"""The board that is always the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board
from weighed import weighed

from compressor.plan.even import even
from compressor.plan.parts import parts_of
from compressor.targets import Figure


def test_it_costs_the_same_for_all_boards() -> None:
    known = weighed()
    fast = board(bandwidth=Figure(1e12, "test"), rates={"fp32": Figure(1e13, "test"), "int8": Figure(5e13, "test")})
    here, there = (even(replace(known.context, target=target)) for target in (board(), fast))
    assert parts_of(known.program, here) == parts_of(known.program, there)
    assert parts_of(known.program, here).latency_ms == pytest.approx(2.157, rel=0.01)
