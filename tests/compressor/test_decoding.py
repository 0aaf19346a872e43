"""Texts of the lengths that decoders are timed with, as long as the model has places."""

from __future__ import annotations

import torch
from decoders import Growing, Windowed, program_of, tiny_decoder

from compressor.decoding import midway, places_of, reading, step
from compressor.graph.kv_cache import with_past

TEXT = {"ids": torch.arange(12).reshape(2, 6)}


def shapes(batch: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in batch.items()}


def test_of_a_model_with_many_places() -> None:
    program = program_of(Growing(context=300), mask=False, name="ids")
    given = with_past(program.inputs, TEXT)
    assert shapes(reading(program, given)) == {"ids": (2, 128), "past_key_values.states": (2, 0, 16)}
    assert shapes(step(program, given)) == {"ids": (2, 1), "past_key_values.states": (2, 128, 16)}
    assert shapes(midway(program, given)) == {"ids": (2, 4), "past_key_values.states": (2, 4, 16)}


def test_of_a_model_with_few() -> None:
    program = tiny_decoder()
    given = with_past(program.inputs, TEXT)
    assert shapes(reading(program, given)) == {"ids": (2, 64), "past_key_values.states": (2, 0, 16)}
    assert shapes(step(program, given)) == {"ids": (2, 1), "past_key_values.states": (2, 63, 16)}
    assert places_of(program, given, 48) == 48
    assert places_of(program, given, 160) == 64, "all it has"


def test_texts_that_do_not_fit_into_a_window() -> None:
    program = program_of(Windowed(40), mask=False, name="ids")
    given = with_past(program.inputs, TEXT)
    assert shapes(midway(program, given)) == {
        "ids": (2, 42), "past_key_values.0.key": (2, 40, 16), "past_key_values.0.value": (2, 40, 16)
    }  # fmt: skip
