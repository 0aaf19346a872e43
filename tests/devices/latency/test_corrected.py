"""Every time multiplied by what earlier measurements taught, and the past error told."""

from __future__ import annotations

import pytest
from boards import board

from compressor.devices.latency.corrected import Corrected
from compressor.devices.latency.history import Past
from compressor.graph.cost import Roofline
from compressor.graph.program import Program


def test_times_are_multiplied_and_nothing_else(conv_program: Program) -> None:
    plain = Roofline().predict(conv_program, board())
    found = Corrected(Roofline(), Past((0.5, -0.1), 2.0)).predict(conv_program, board())
    assert found.latency_ms == pytest.approx(2 * plain.latency_ms)
    assert [k.latency_ms for k in found.kernels] == pytest.approx([2 * k.latency_ms for k in plain.kernels])
    assert (found.macs, found.source, found.interval_ms) == (plain.macs, plain.source, None)
    assert found.factor == 2.0
    assert "last 2 predictions" in found.past
