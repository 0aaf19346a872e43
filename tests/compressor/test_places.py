"""How many places a cache has is tried, not believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.devices.runner.decode import Decoder
from compressor.errors import ExportError
from compressor.places import most_places

INPUTS = [
    {"name": "ids", "dtype": "int64", "shape": ["batch", "sequence"]},
    {"name": "mask", "dtype": "int64", "shape": ["batch", "past + sequence"]},
    {"name": "past_key_values.0.key", "dtype": "float32", "shape": ["batch", 2, "past", 4]},
]


class Table:
    """A model with a table of so many positions; beyond it the runtime fails, or answers with nothing."""

    def __init__(self, length: int, *, fails: bool = True) -> None:
        self.length, self.fails, self.asked = length, fails, list[int]()

    def __call__(self, feed: Any) -> Any:
        places = feed["mask"].shape[1]
        assert feed["past_key_values.0.key"].shape == (1, 2, places - 1, 4)
        self.asked.append(places)
        if places > self.length and self.fails:
            raise ExportError("beyond the table")
        return {"logits": np.zeros((1, int(places <= self.length), 9), np.float32)}


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("length", [5, 64, 100, 511])
def test_the_end_of_a_table(length: int, fails: bool) -> None:
    model = Table(length, fails=fails)
    assert most_places(Decoder(model, INPUTS, "ids", "logits"), 4, 512) == length
    assert len(model.asked) < 20


def test_what_is_known_is_not_tried() -> None:
    model = Table(64)
    assert most_places(Decoder(model, INPUTS, "ids", "logits"), 64, 64) is None
    assert model.asked == []
    assert most_places(Decoder(model, INPUTS, "ids", "logits"), 20, 64) is None
    assert model.asked == [40, 64]


def test_a_model_that_always_fails_has_another_fault() -> None:
    assert most_places(Decoder(Table(0), INPUTS, "ids", "logits"), 4, 512) is None


def test_no_cache_of_gigabytes_is_tried() -> None:
    model = Table(10**12)
    assert most_places(Decoder(model, INPUTS, "ids", "logits"), 2**20, 2**40) is None
    assert max(model.asked) * 2 * 4 * 4 <= 2**30
