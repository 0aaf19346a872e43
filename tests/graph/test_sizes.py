"""Dynamic dimensions by name and by arithmetic, and nothing else evaluated."""

from __future__ import annotations

import pytest

from compressor.graph.sizes import dimension

SIZES = {"batch": 3, "sequence": 8, "2*batch + 1": 5, "mask.batch": 4, "Max(1, batch)": 6, "open('x')": 7, "batch/0": 9}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch", 3),
        ("2*batch + 1", 7),
        ("(batch + sequence)//2 - 1", 4),
        ("sequence % batch", 2),
        ("mask.batch", 4),
        ("Max(1, batch)", 6),
        ("open('x')", 7),
        ("batch/0", 9),
    ],
)
def test_dimension(text: str, expected: int) -> None:
    assert dimension(text, SIZES) == expected
