"""What the profiler adds is taken off every node, and the rest adds up to the whole inference."""

from __future__ import annotations

import pytest

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.overhead import without_profiler


def nodes(*times: float) -> list[NodeTime]:
    return [NodeTime(f"n{i}", "Conv", "", time) for i, time in enumerate(times)]


def test_the_same_is_taken_off_each_node() -> None:
    left = [node.microseconds for node in without_profiler(nodes(105.0, 15.0, 30.0), 135.0)]
    assert left == pytest.approx([100.0, 10.0, 25.0])


@pytest.mark.parametrize("whole", [10.0, 149.0, 200.0])
def test_the_nodes_add_up_to_the_inference(whole: float) -> None:
    left = [node.microseconds for node in without_profiler(nodes(105.0, 1.0, 30.0), whole)]
    assert sum(left) == pytest.approx(whole)
    assert min(left) > 0


def test_nothing_of_no_nodes() -> None:
    assert without_profiler([], 10.0) == ()
