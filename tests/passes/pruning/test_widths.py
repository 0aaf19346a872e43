"""Which widths a dimension may be cut to."""

from __future__ import annotations

import pytest

from compressor.graph.dimensions.groups import Dimension
from compressor.passes.pruning.widths import ladder


def dimension(units: int, rows: int = 1) -> Dimension:
    return Dimension("d", tuple(range(1, units + 1)), (("w", 0, rows),), 10)


@pytest.mark.parametrize(
    ("units", "rows", "multiple", "kept"),
    [
        (32, 1, 8, {32, 24, 16, 8}),
        (30, 1, 8, {30, 24, 16, 8}),  # an odd width may stay, but is cut to multiples
        (12, 1, 8, {12, 8, 4}),  # too narrow for two eights: fours
        (3, 64, 8, {3, 2, 1}),  # every head is a multiple already
        (16, 2, 8, {16, 12, 8, 4}),
        (6, 1, 1, {6, 5, 4, 3, 2, 1}),
    ],
)
def test_kept_widths(units: int, rows: int, multiple: int, kept: set[int]) -> None:
    found = ladder(dimension(units, rows), {}, multiple, 0.0)
    assert {units - gone for gone in found.rungs} == kept


def test_a_share_stays() -> None:
    assert max(ladder(dimension(32), {}, 8, 0.5).rungs) == 16


def test_the_least_important_go_first() -> None:
    found = ladder(dimension(4), {1: 3.0, 2: 1.0, 3: 2.0, 4: 4.0}, 1, 0.0)
    assert found.units(2) == (2, 3)


def test_nearest_rung() -> None:
    found = ladder(dimension(32), {}, 8, 0.0)
    assert found.rungs[found.nearest(0.5)] == 16
    assert found.rungs[found.nearest(0.0)] == 0
    assert found.rungs[found.nearest(1.0)] == 24
