"""Which inputs and outputs are a cache; what a batch lacks of it is empty; one step's is the next one's."""

from __future__ import annotations

import torch
from decoders import Windowed, program_of, tiny_decoder

from compressor.graph.kv_cache import (
    answers,
    cache_of,
    going_on,
    is_past,
    least_of,
    length_of,
    next_past,
    of_length,
    window_of,
    with_past,
    without_past,
)
from compressor.graph.signature import TensorSpec

INPUTS = (
    TensorSpec("ids", torch.int64, ("batch", "sequence")),
    TensorSpec("attention_mask", torch.int64, ("batch", "past + sequence")),
    TensorSpec("past_key_values.0.key", torch.float32, ("batch", 2, "past", 4)),
)
OUTPUTS = (
    TensorSpec("logits", torch.float32, ("batch", "sequence", 9)),
    TensorSpec("present.0.key", torch.float32, ("batch", 2, "past + sequence", 4)),
)
BATCH = {
    "ids": torch.arange(6).reshape(1, 6),
    "attention_mask": torch.ones(1, 8),
    "past_key_values.0.key": torch.ones(1, 2, 2, 4),
}


def test_what_is_a_cache() -> None:
    assert cache_of(INPUTS) == INPUTS[2:]
    assert answers(OUTPUTS) == OUTPUTS[:1]
    assert not is_past(TensorSpec("past_key_values.0.key", torch.float32, ("batch", 2, 16, 4))), "of a fixed length"


def test_a_missing_cache_is_empty() -> None:
    filled = with_past(INPUTS, {"ids": torch.zeros(3, 5, dtype=torch.int64)})
    assert filled["past_key_values.0.key"].shape == (3, 2, 0, 4)
    assert with_past(INPUTS, BATCH) is BATCH
    assert with_past(INPUTS[:1], {"ids": torch.zeros(1, 1)}).keys() == {"ids"}


def test_the_text_alone() -> None:
    text = without_past(INPUTS, BATCH)
    assert {name: tuple(value.shape) for name, value in text.items()} == {"ids": (1, 6), "attention_mask": (1, 6)}
    assert length_of(INPUTS, BATCH) == 6


def test_other_lengths() -> None:
    longer = of_length(INPUTS, BATCH, 8)
    assert longer["ids"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1]]
    assert longer["attention_mask"].shape == (1, 8)
    assert of_length(INPUTS, BATCH, 2)["ids"].tolist() == [[0, 1]]


def test_the_next_past() -> None:
    assert list(next_past({"logits": torch.ones(1), "present.0.key": torch.ones(2)})) == ["past_key_values.0.key"]


def test_going_on() -> None:
    program = tiny_decoder()
    batch = going_on(program, {"ids": torch.arange(10).reshape(2, 5)}, 3)
    assert batch["ids"].tolist() == [[3, 4], [8, 9]]
    assert batch["past_key_values.states"].shape == (2, 3, 16)


def test_the_window_that_a_cache_is_cut_to() -> None:
    assert window_of(tiny_decoder()) is None
    assert window_of(program_of(Windowed(5), mask=False, name="ids")) == 5
    assert least_of(5) // 2 > 5, "half of it fills the window"
