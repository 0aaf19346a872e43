"""Sentences as rows of numbers: known words, unknown ones, near sizes near each other."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from compressor.devices.latency.tokens import Sentence, Token
from compressor.devices.latency.vocabulary import Vocabulary, vocabulary_of


def said(op: str, size: float) -> Sentence:
    return Sentence(op, op, (Token("op", op), Token("macs", size=size)), 1, 1.0)


def known() -> Vocabulary:
    return vocabulary_of([[said("conv2d", 4.0), said("conv2d", 20.0), said("conv2d", 8.0)], [said("fft", 12.0)]])


def test_words_seen_often_are_their_own_and_others_unknown() -> None:
    assert known().words == ("op:?", "op:conv2d")
    assert dict(known().sizes) == {"macs": (4.0, 20.0)}
    rows = known().encode([said("conv2d", 4.0), said("fft", 4.0), said("never", 4.0)])
    assert rows.shape == (3, known().columns)
    assert rows[0, :2].tolist() == [0, 1]
    assert rows[1].tolist() == rows[2].tolist()
    assert rows[1, :2].tolist() == [1, 0]
    assert rows[:, -1].tolist() == [1, 1, 1]


def test_near_sizes_have_near_rows() -> None:
    rows = known().encode([said("conv2d", size) for size in (8.0, 8.25, 16.0)])
    near, far = np.abs(rows[0] - rows[1]).sum(), np.abs(rows[0] - rows[2]).sum()
    assert 0 < near < far / 5


def test_sizes_are_held_within_those_seen_and_told_beyond() -> None:
    inside, outside = said("conv2d", 20.0), said("conv2d", 30.0)
    rows = known().encode([inside, outside])
    assert rows[0].tolist() == rows[1].tolist()
    slightly = said("conv2d", 20.0 + math.log2(1.4))
    assert known().beyond([inside, slightly, outside, said("conv2d", 1.0)]).tolist() == [0, 0, 1, 1]


def test_a_field_never_seen_counts_as_nothing() -> None:
    strange = Sentence("x", "x", (Token("sides", size=3.0), Token("colour", "red")), 0, 0.0)
    assert known().encode([strange])[0].tolist() == [*[0] * (known().columns - 1), 1]
    assert known().beyond([strange]).tolist() == [0]
    assert known().encode([]).shape == (0, known().columns)


def test_back_from_json() -> None:
    again = Vocabulary.from_json(json.loads(json.dumps(known().to_json())))
    assert again == known()
    assert again.encode([said("fft", 9.0)]).tolist() == known().encode([said("fft", 9.0)]).tolist()


@pytest.mark.parametrize(
    "damage",
    [
        {"words": ["no word"]},
        {"words": ["op:a", "op:a"]},
        {"words": [f"op:{number}" for number in range(30_000)]},
        {"sizes": {"macs": [3, 1]}},
        {"sizes": {"macs": [0, math.inf]}},
        {"sizes": {"macs": [math.nan, 1]}},
        {"sizes": {"macs": [1]}},
    ],
)
def test_what_is_no_vocabulary_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Vocabulary.from_json({**known().to_json(), **damage})
