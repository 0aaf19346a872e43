"""Where sequences repeat."""

from __future__ import annotations

import pytest

from compressor.graph.blocks.periods import periods

KINDS = {"A": "mixer", "B": "mixer", "C": "mixer", "M": "mlp", "R": "branch"}


def cut(text: str) -> str:
    """Blocks between bars, runs between double bars; a slash is a gap."""
    keys = text.replace("/", "")
    places = [text[: i + 1].replace("/", "") for i, letter in enumerate(text) if letter == "/"]
    gaps = [any(len(place) == n + 1 for place in places) for n in range(len(keys))]
    runs = periods(list(keys), gaps, [KINDS[key] for key in keys])
    return " || ".join(" | ".join(keys[b.start : b.stop] for b in run) for run in runs)


@pytest.mark.parametrize(
    ("steps", "blocks"),
    [
        ("AMAMAM", "AM | AM | AM"),
        ("RRR", "R | R | R"),
        ("AMBM", "AM || BM"),
        ("AMBMAMBM", "AMBM | AMBM"),
        ("CAMAMAM", "C || AM | AM | AM"),
        ("AMAMAMB", "AM | AM | AM || B"),
        ("MACMMACM", "MACM | MACM"),
        ("AM/AM", "AM | AM"),
        ("A/MAM", "A || M || AM"),  # no block has a gap inside
        ("A", "A"),
    ],
)
def test_what_repeats_most_is_the_blocks(steps: str, blocks: str) -> None:
    assert cut(steps) == blocks


def test_nothing_is_no_run() -> None:
    assert periods([], [], []) == []
