"""Views of one tensor lie in its bytes."""

from __future__ import annotations

import torch

from compressor.passes.reading.memory import memory_range


def test_views_and_neighbours() -> None:
    whole = torch.zeros(4, 6)
    start, end = memory_range(whole)
    assert end - start == 4 * 6 * 4
    assert memory_range(whole.T) == (start, end)
    assert memory_range(whole[1:3, 2]) == (start + 4 * 8, start + 4 * 15)
    assert memory_range(whole[2:])[0] == memory_range(whole[:2])[1]


def test_nothing_takes_no_bytes() -> None:
    start, end = memory_range(torch.zeros(0, 3))
    assert start == end
