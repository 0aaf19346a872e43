"""Clusters of neighbours: pairs, sandwich, and CRaSh's agglomeration with the example worked out by hand."""

from __future__ import annotations

import pytest

from compressor.passes.sharing.clusters import Groups, agglomerated, central, grouped


def never() -> list[float]:
    raise AssertionError("only cka compares")


@pytest.mark.parametrize(
    ("groups", "count", "size", "expected"),
    [
        ("pairs", 5, 2, [(0, 1), (2, 3), (4,)]),
        ("pairs", 4, 4, [(0, 1, 2, 3)]),
        ("sandwich", 5, 2, [(0,), (1, 2, 3), (4,)]),
        ("sandwich", 2, 2, [(0,), (1,)]),
        ("sandwich", 1, 2, [(0,)]),
    ],
)
def test_by_place(groups: Groups, count: int, size: int, expected: list[tuple[int, ...]]) -> None:
    assert grouped(groups, count, size, never) == expected


def test_the_most_alike_at_the_seam_are_merged_first() -> None:
    near = [0.5, 0.9, 0.8, 0.7, 0.6]  # of 0 and 1, 1 and 2, …
    assert agglomerated(near, 5) == [(0,), (1, 2), (3,), (4,), (5,)]
    assert agglomerated(near, 4) == [(0,), (1, 2, 3), (4,), (5,)]
    assert agglomerated(near, 3) == [(0,), (1, 2, 3, 4), (5,)]
    assert agglomerated(near, 1) == [(0, 1, 2, 3, 4, 5)]
    assert grouped("cka", 6, 2, lambda: near) == agglomerated(near, 3)


def test_of_equal_seams_the_earlier_goes_and_nothing_to_merge_stays() -> None:
    assert agglomerated([0.5, 0.5, 0.5], 3) == [(0, 1), (2,), (3,)]
    assert agglomerated([0.5], 2) == [(0,), (1,)]
    assert agglomerated([], 1) == [(0,)]


def test_the_middle() -> None:
    assert [central(c) for c in ((3,), (3, 4), (3, 4, 5), (3, 4, 5, 6))] == [3, 3, 4, 4]
